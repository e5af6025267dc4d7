"""The processes of one training: alone, or those that torchrun started, which share each step's images."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from visionfm.encoders import anatomy
from visionfm.errors import DataError, Stopped
from visionfm.pretraining.networks import Pair
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.processes import Process, this_process

TIMEOUT = timedelta(minutes=30)
log = logging.getLogger("visionfm")


class Group:
    """This process and the others."""

    def __init__(self, process: Process, device: torch.device) -> None:
        """`process.world` 1 is alone: nothing is exchanged."""
        self.process, self.device = process, device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.process.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.process.world == 1

    def all_reduce(self, values: torch.Tensor, how: str) -> torch.Tensor:
        """Return the sum or maximum (`sum`, `max`) over all processes."""
        if not self.alone:
            dist.all_reduce(values, {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}[how])
        return values

    def wait(self) -> None:
        """Wait until all are here."""
        if not self.alone:
            dist.barrier()


@contextmanager
def joined(device: torch.device, stop: StopFlag) -> Iterator[Group]:
    """Join the processes that torchrun started; when one of them ends early, the others end with an explanation."""
    process = this_process()
    if process.world == 1:
        yield Group(process, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Group(process, device)
    except (RuntimeError, dist.DistBackendError) as error:
        if stop():
            raise Stopped(
                f"stopped by {stop.signal_name} while another process had ended already",
                do="run the same command again; it goes on from the last checkpoint",
            ) from error
        if _is_ours(error):
            raise
        raise DataError(
            "another process of the training ended",
            found=str(error).splitlines()[0][:200],
            do="see what it says, then run the same command again; it goes on from the last checkpoint",
        ) from error
    finally:
        dist.destroy_process_group()


def _is_ours(error: BaseException) -> bool:
    """Tell an error of the computation from one of the connection to other processes."""
    words = ("connection", "gloo", "nccl", "peer", "timed out", "socket")
    return not any(word in str(error).lower() for word in words)


def shard(pair: Pair, group: Group) -> bool:
    """Share the blocks of both networks out among the processes (FSDP2); tell whether that was done.

    What lies around the blocks is small and stays whole in each process; its gradients are averaged apart.
    """
    if group.alone:
        log.info("pretrain: `fsdp` has no effect with one process")
        return False
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(group.device.type, (group.process.world,))
    for network in pair.networks:
        for block in anatomy.blocks(network.backbone.vit):
            # Gathered for each pass anew: the teacher has no backward pass that would end what a forward pass gathered.
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
    return True


def shared(student: nn.Module, group: Group) -> nn.Module:
    """Return the student as the processes train it together, alone as it is."""
    if group.alone:
        return student
    from torch.nn.parallel import DistributedDataParallel

    devices: list[Any] | None = [group.device] if group.device.type == "cuda" else None
    return DistributedDataParallel(student, device_ids=devices, gradient_as_bucket_view=True)
