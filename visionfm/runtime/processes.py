"""Which process this is among those that torchrun started, and where it computes; importing it imports no torch."""

import os
from typing import TYPE_CHECKING, NamedTuple

from visionfm.errors import UsageError

if TYPE_CHECKING:
    import torch


class Process(NamedTuple):
    """This process among those that torchrun started; alone without torchrun."""

    rank: int
    world: int
    local_rank: int


def this_process() -> Process:
    """Read what torchrun puts into the environment."""
    names = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    return Process(*(int(os.environ.get(name, alone)) for name, alone in names))


def choose_device(device: str, gpu: int, local_rank: int) -> "torch.device":
    """Return the device: CUDA where there is one, unless the settings say `cpu`.

    Raises UsageError when a GPU is asked for (`gpu` >= 1, or device `cuda`) and there is none: an hour's work should
    not become a week's.
    """
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    if device == "cuda" or (device != "cpu" and gpu >= 1):
        raise UsageError(
            "a GPU is asked for and there is none",
            expected=f"CUDA, for `device: {device}` with `gpu: {gpu}`",
            found="no CUDA device",
            do="run where there is one, or set `device: cpu` (or `gpu: 0`)",
        )
    return torch.device("cpu")
