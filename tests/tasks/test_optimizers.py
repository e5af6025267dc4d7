"""The optimizers of heads take the very steps of torch's own, and go on from a state as these do."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from visionfm.tasks.optimizers import AdamW, Optimizer, Sgd

Make = Callable[[list[dict[str, Any]]], Optimizer]
PAIRS: dict[str, tuple[Make, Make]] = {
    "adamw": (
        lambda groups: AdamW(groups, 1e-2, 0.1),
        lambda groups: torch.optim.AdamW(groups, 1e-2, weight_decay=0.1),
    ),
    "sgd": (
        lambda groups: Sgd(groups, 1e-2, 0.9, 0.1),
        lambda groups: torch.optim.SGD(groups, 1e-2, 0.9, weight_decay=0.1),
    ),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.GELU(), nn.Linear(5, 2), nn.Linear(2, 3))


def groups(of: nn.Sequential) -> list[dict[str, Any]]:
    weights = [parameter for parameter in of.parameters() if parameter.ndim > 1]
    biases = [parameter for parameter in of.parameters() if parameter.ndim < 2]
    return [{"params": weights}, {"params": biases, "weight_decay": 0.0}]


def steps(of: nn.Sequential, optimizer: Optimizer, numbers: range) -> None:
    for number in numbers:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + number)
        features = torch.randn(4, 7, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        used = of[:-1](features)  # the last layer has no gradient, and stays as it is
        used.square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_those_of_torch_bit_for_bit(name: str) -> None:
    states = []
    for make in PAIRS[name]:
        of = network()
        optimizer = make(groups(of))
        steps(of, optimizer, range(20))
        states.append((of.state_dict(), optimizer.state_dict()["state"]))
    (ours, remembered), (theirs, also) = states
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert remembered.keys() == also.keys()
    assert all(torch.equal(remembered[at][key], also[at][key]) for at in also for key in also[at])


@pytest.mark.parametrize("name", PAIRS)
def test_a_training_goes_on_from_its_state(name: str) -> None:
    of = network()
    optimizer = PAIRS[name][0](groups(of))
    steps(of, optimizer, range(5))
    weights, state = copy.deepcopy((of.state_dict(), optimizer.state_dict()))
    steps(of, optimizer, range(5, 9))
    again = network()
    again.load_state_dict(weights)
    other = PAIRS[name][0](groups(again))
    other.load_state_dict(state)
    steps(again, other, range(5, 9))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in of.state_dict().items())
