"""What is computed again in the backward pass is not kept, and changes no bit of a gradient."""

from contextlib import nullcontext

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import nn
from world.cheap_outputs import CheapOutputs

from visionfm.pretraining.recomputing import recomputing

CHEAP_OUTPUTS = 3  # of a block: two of LayerNorm, one of GELU


def block(**fields: object) -> Block:
    torch.manual_seed(0)
    return Block(dim=32, num_heads=2, qkv_bias=True, **fields)  # type: ignore[arg-type]


def gradients(network: nn.Module, precision: torch.dtype, *, again: bool) -> list[torch.Tensor]:
    torch.manual_seed(1)
    x_BTD = torch.randn(3, 10, 32, requires_grad=True)
    autocast = torch.autocast("cpu", precision, enabled=precision != torch.float32)
    with autocast, recomputing(network) if again else nullcontext():
        out_BTD = network(x_BTD)
    network.zero_grad()
    out_BTD.float().square().sum().backward()
    assert x_BTD.grad is not None
    return [x_BTD.grad, *(parameter.grad.clone() for parameter in network.parameters())]  # type: ignore[union-attr]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    "fields", [{}, {"init_values": 0.1}, {"qk_norm": True}, {"drop_path": 0.5}], ids=["plain", "scale", "norm", "drop"]
)
def test_gradients_are_bit_equal_to_those_of_what_was_kept(fields: dict[str, object], precision: torch.dtype) -> None:
    network = block(**fields)
    plain, again = (gradients(network, precision, again=on) for on in (False, True))
    assert len(plain) == len(again)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


@pytest.mark.parametrize(("on", "kept"), [(False, CHEAP_OUTPUTS), (True, 0)])
def test_no_output_of_layer_norm_or_gelu_outlives_the_forward_pass(on: bool, kept: int) -> None:
    network = block()
    outputs = CheapOutputs(network)
    with recomputing(network) if on else nullcontext():
        out_BTD = network(torch.randn(3, 10, 32))
    assert out_BTD.requires_grad
    assert len(outputs.seen) == CHEAP_OUTPUTS
    assert outputs.kept() == kept


class Turned(nn.Module):
    """Multiplies the output of a LayerNorm, rows and columns exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.weight = nn.LayerNorm(32), nn.Parameter(torch.ones(10))

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        return self.norm(x_BTD).transpose(1, 2) * self.weight


def test_an_output_that_lies_otherwise_in_memory_is_kept_as_it_is() -> None:
    plain, again = (gradients(Turned(), torch.float32, again=on) for on in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))
