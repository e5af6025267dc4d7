"""Fine-tuning in several processes that torchrun started, one a GPU: gradients averaged, decisions taken together.

Shapes: N samples, K outputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from visionfm.distributed import Process

PATIENCE = timedelta(hours=2)  # a process may decode slowly, or write a checkpoint while the others wait


@contextmanager
def joined(process: Process, device: torch.device) -> Iterator[None]:
    """Join the processes while the block runs; alone, do nothing."""
    if process.world == 1:
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def shared(network: nn.Module, process: Process, device: torch.device) -> nn.Module:
    """Return the network whose backward averages gradients, encoder and head alike; alone, itself."""
    if process.world == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def summed(values: list[float], process: Process) -> list[float]:
    """Return the sums over the processes."""
    if process.world == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    found: list[float] = tensor.tolist()
    return found


def gathered(outputs_NK: torch.Tensor, count: int, process: Process) -> torch.Tensor:
    """Return the outputs of all `count` samples in order; each process has every world-th."""
    if process.world == 1:
        return outputs_NK
    parts: list[torch.Tensor | None] = [None] * process.world
    dist.all_gather_object(parts, outputs_NK)
    whole_NK = outputs_NK.new_zeros((count, outputs_NK.shape[1]))
    for rank, part in enumerate(parts):
        assert part is not None
        whole_NK[rank :: process.world] = part
    return whole_NK
