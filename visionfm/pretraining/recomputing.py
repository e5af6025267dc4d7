"""Less memory for next to no time: the backward pass computes again what is cheap, instead of keeping it.

Of the 16 D numbers a token that a ViT block keeps (D: width), 6 D come out of LayerNorm and GELU, whose inputs are kept
anyway. What comes out of products of matrices and of attention is kept. The same operations run on the same numbers, so
gradients are bit-equal to those without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

CHEAP = (nn.GELU, nn.LayerNorm)


class _Made(NamedTuple):
    """How to compute a tensor again; `output` keeps its address from being given to another one meanwhile."""

    module: nn.Module
    given: torch.Tensor
    output: torch.Tensor


class _Again(NamedTuple):
    """What stands for a tensor in the graph."""

    module: nn.Module
    given: torch.Tensor
    shape: torch.Size


@contextmanager
def recomputing(block: nn.Module) -> Iterator[None]:
    """Run `block` within this: its graph keeps no output of LayerNorm or GELU."""
    made: dict[int, _Made] = {}

    def note(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        # Autocast may change the type; in the backward pass it is off, and the same call would not give the same.
        if args[0].dtype == output.dtype:
            made[output.data_ptr()] = _Made(module, args[0].detach(), output.detach())

    def pack(tensor: torch.Tensor) -> torch.Tensor | _Again:
        found = made.get(tensor.data_ptr())
        if found is None or not _same_numbers(tensor, found.output):
            return tensor.detach()
        return _Again(found.module, found.given, tensor.shape)

    handles = [module.register_forward_hook(note) for module in block.modules() if isinstance(module, CHEAP)]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, _unpack):
            yield
    finally:
        made.clear()
        for handle in handles:
            handle.remove()


def _same_numbers(tensor: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether a tensor at the output's address is the output, in another shape at most: not a part, not transposed."""
    whole = tensor.dtype == output.dtype and tensor.numel() == output.numel()
    return whole and tensor.is_contiguous() and output.is_contiguous()


@torch.no_grad()
def _unpack(kept: torch.Tensor | _Again) -> torch.Tensor:
    if isinstance(kept, torch.Tensor):
        return kept
    output: torch.Tensor = kept.module.forward(kept.given)
    return output.view(kept.shape)
