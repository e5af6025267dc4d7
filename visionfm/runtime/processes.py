"""Which process this is among those that torchrun started, and where it computes; importing it imports no torch."""

import logging
import os
from typing import TYPE_CHECKING, NamedTuple

from visionfm.errors import UsageError
from visionfm.runtime.devices import CORES, GIVEN

if TYPE_CHECKING:
    import torch


log = logging.getLogger("visionfm")


class Process(NamedTuple):
    """This process among those that torchrun started; alone without torchrun."""

    rank: int
    world: int
    local_rank: int


def this_process() -> Process:
    """Read what torchrun puts into the environment."""
    names = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    return Process(*(int(os.environ.get(name, alone)) for name, alone in names))


def decoding_processes(asked: int | None, device: "torch.device", on_cpu: int = 2) -> int:
    """Return how many processes decode images for this one: as `asked` by the config, else as its device needs.

    A CPU computes more slowly than `on_cpu` processes decode; a GPU takes what all cores of this process can bring.
    """
    if asked is not None:
        return asked
    return on_cpu if device.type == "cpu" else cores()


def cores() -> int:
    """Return how many cores this process has: of those that its job was given, else of those that it may run on."""
    if given := os.environ.get(CORES):
        return int(given)
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def choose_device(device: str, gpu: int, local_rank: int) -> "torch.device":
    """Return the device: CUDA where there is one, unless the settings say `cpu`; without one, `auto` is the CPU.

    Raises UsageError where a GPU was asked for by the config (`gpu` >= 1, or device `cuda`) or given by a scheduler,
    and torch sees none: an hour's work should not become a week's.
    """
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    given = os.environ.get(GIVEN)
    if device == "cuda" or (device == "auto" and (gpu >= 1 or given)):
        raise UsageError(
            "there is no GPU to compute on",
            expected=f"CUDA: {given} GPUs were given to this job" if given else f"CUDA, for `device: {device}`",
            found="none that torch sees",
            do="see `visionfm doctor` on that machine; or set `device: cpu` and leave `gpu` out of `resources`",
        )
    if device == "auto" and local_rank == 0:
        log.warning("no GPU is visible: this computes on the CPU, which takes 20 to 100 times as long as on a GPU")
    return torch.device("cpu")
