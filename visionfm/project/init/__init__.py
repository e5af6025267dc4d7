"""What a folder of eye images seems to be, and a first config for it, with a comment at all that is a guess.

Invariant: a target is never chosen silently. Where several readings fit, the answer is a list of flags, no choice.
"""
