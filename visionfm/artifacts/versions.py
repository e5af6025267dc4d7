"""The integer version of each stage: raise a stage's when what it computes changes.

A version is part of the stage's key and of its rule's `params`, so that raising it recomputes that stage, and nothing
else unless the results differ.
"""

VERSIONS = {
    "index": 7,
    "label": 7,
    "audit": 9,
    "checksum": 1,
    "measure": 1,
    "import": 2,
    "pack": 1,
    "pretrain": 1,
    "extract": 1,
    "dense": 1,
    "fuse": 5,
    "train": 9,
    "finetune": 3,
    "calibrate": 2,
    "predict": 3,
    "locate": 3,
    "suspect": 2,
    "evaluate": 16,
    "compare": 6,
    "contrast": 7,
    "recalibrate": 4,
    "report": 52,
    "paper": 15,
    "export": 1,
}
