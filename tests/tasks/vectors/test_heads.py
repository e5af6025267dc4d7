"""The published heads against their golden outputs."""

import numpy as np
import pytest
import torch
from world.checkout import SHARED

from visionfm.tasks.vectors.heads import ClsHead, LinearHead, RegHead


@pytest.mark.parametrize(("name", "head"), [("cls_head", ClsHead(48, 13)), ("reg_head", RegHead(48, 38))])
def test_published_head_reproduces_the_golden_outputs_under_the_published_names(name, head):
    path = SHARED / "golden" / "decoders.npz"
    if not path.is_file():
        pytest.skip("no ../shared/golden")
    golden = np.load(path)
    start = f"{name}.param."
    head.load_state_dict(
        {key.removeprefix(start): torch.from_numpy(golden[key]) for key in golden if key.startswith(start)}
    )
    with torch.no_grad():
        found = head.eval()(torch.from_numpy(golden[f"{name}.x"])).numpy()
    assert np.abs(found - golden[f"{name}.y"]).max() < 1e-5


def test_published_heads_have_the_published_number_of_parameters():
    assert sum(p.numel() for p in ClsHead(3072, 13).parameters()) == 5_916_685
    assert sum(p.numel() for p in RegHead(3072, 38).parameters()) == 2_395_430


def test_published_batch_norm_forgets_as_published():
    head = ClsHead(8, 2)
    assert (head.channel_bn.momentum, head.channel_bn.eps) == (0.99, 1e-6)


def test_linear_head_starts_without_an_opinion():
    assert LinearHead(5, 3)(torch.randn(2, 5)).abs().max() == 0
