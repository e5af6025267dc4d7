"""Fine-tuning in several processes that torchrun started, one per GPU: gradients averaged, decisions taken together.

Shapes: B batch, F features, N samples, K outputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from visionfm.runtime.processes import Process

EPS = 1e-5  # of batch_norm
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


def standardised(features_BF: torch.Tensor) -> torch.Tensor:
    """Return features of mean 0 and deviation 1 over the batch, or over the parts of it that all processes have."""
    if not dist.is_initialized():
        return functional.batch_norm(features_BF, None, None, training=True)
    count = _sum(features_BF.new_full((1,), len(features_BF)))
    centred_BF = features_BF - _sum(features_BF.sum(0)) / count
    variance_F = _sum((centred_BF**2).sum(0)) / count
    return centred_BF * (variance_F + EPS).rsqrt()


class _Sum(torch.autograd.Function):
    """The sum over the processes; each process's part moves the losses of all."""

    @staticmethod
    def forward(_: Any, tensor: torch.Tensor) -> torch.Tensor:
        found = tensor.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        found = gradient.clone()
        dist.all_reduce(found)
        return found


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = _Sum.apply(tensor)
    return found


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
