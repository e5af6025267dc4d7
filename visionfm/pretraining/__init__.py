"""Pretraining: images of an eye modality become an encoder, by self-distillation with masked image modelling (iBOT).

`pretrain` is the stage; `networks`, `head` and `loss` are what is trained; `training` is the loop, `schedules` and
`order` its clock; `recipes/` holds the recipes. Importing this package imports no torch.
"""
