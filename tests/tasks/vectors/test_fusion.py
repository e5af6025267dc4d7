"""Fusion of modalities: masks, widths, and what each mode does with what is there."""

import pytest
import torch
from world.decoder_data import BINARY

from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.fusion import FUSIONS, Concat, Mean
from visionfm.tasks.vectors.spec import Spec
from visionfm.tasks.vectors.training import drop_modalities

WIDTHS = [6, 4, 8]
FUSED = ["concat", "mean", "attention"]


def streams(batch=5):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, width, generator=generator) for width in WIDTHS]


@pytest.mark.parametrize("fusion", FUSED)
def test_what_stands_in_a_masked_entry_cannot_reach_the_output(fusion):
    network = FUSIONS[fusion](WIDTHS).eval()
    present_BS = torch.tensor([[True, False, True]] * 5)
    one, other = streams(), streams()
    other[1] = torch.full_like(other[1], float("nan"))
    assert torch.equal(network(one, present_BS), network(other, present_BS))


@pytest.mark.parametrize("fusion", FUSED)
def test_each_present_modality_reaches_the_output(fusion):
    network = FUSIONS[fusion](WIDTHS).eval()
    present_BS = torch.ones(5, 3, dtype=torch.bool)
    fused = network(streams(), present_BS)
    assert fused.shape == (5, network.width)
    for s in range(3):
        changed = streams()
        changed[s] = changed[s] + 1
        assert not torch.allclose(network(changed, present_BS), fused)


@pytest.mark.parametrize("fusion", FUSED)
def test_gradients_are_finite_when_modalities_are_missing(fusion):
    network = Decoder(Spec("classification", BINARY, ["a", "b", "c"], fusion, "linear", "cls", WIDTHS))
    torch.nn.init.ones_(network.head.linear.weight)
    present_BS = torch.tensor([[True, False, False], [False, True, True], [False, False, True]])
    network(streams(3), present_BS).sum().backward()
    assert network.head.linear.weight.grad.abs().max() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_concat_flags_what_is_there():
    fused = Concat(WIDTHS)(streams(2), torch.tensor([[True, False, True], [True, True, True]]))
    assert fused[:, -3:].tolist() == [[1, 0, 1], [1, 1, 1]]
    assert fused[0, 6:10].abs().max() == 0


def test_mean_of_one_modality_is_its_projection():
    network, given = Mean(WIDTHS), streams(2)
    alone = network(given, torch.tensor([[False, True, False]] * 2))
    assert torch.allclose(alone, network.project[1](given[1]))


def test_modality_dropout_drops_often_but_never_all_and_adds_nothing():
    present_NS = torch.tensor([[True, True, True], [True, False, True], [False, True, False]] * 2000)
    kept_NS = drop_modalities(present_NS, 0.5, torch.Generator().manual_seed(0))
    assert not (kept_NS & ~present_NS).any()
    assert kept_NS.any(dim=1).all()
    assert kept_NS[2::3, 1].all()
    assert 0.5 < kept_NS[0::3].float().mean() < 0.6  # 1/2, and one of three stays in 1/8 of the cases
