"""`visionfm package` and what reads its file: a model in one file, to be handed over and used without the pipeline.

`contents` is the format, `members` finds what a results folder has, `making` writes the file, `model` applies it.
"""
