"""The head equals the published one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from world.pretraining_recipes import recipe

from visionfm.pretraining.head import Head

SMALL = {"head_hidden": 40, "head_bottleneck": 12, "out_dim": 16, "patch_out_dim": 16}


def test_scores_of_cls_and_patches_equal_the_golden_ones(shared: Path) -> None:
    golden = np.load(shared / "golden" / "ibot_head.npz")
    head = Head(24, recipe(**SMALL))
    stored = {name.removeprefix("param."): torch.from_numpy(golden[name]) for name in golden if "param." in name}
    head.load_state_dict(stored, strict=True)
    x_BTD = torch.from_numpy(golden["x"])
    cls_NK, patch_MK = head(x_BTD[:, 0], x_BTD[:, 1:].flatten(0, 1))
    np.testing.assert_allclose(cls_NK.detach(), golden["cls"], atol=1e-5)
    np.testing.assert_allclose(patch_MK.detach().reshape(2, 9, 16), golden["patch"], atol=1e-5)


def test_the_published_head_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        shared_head, own_layers = Head(768, recipe()), Head(768, recipe(head="last_layer"))
    assert sum(p.numel() for p in shared_head.parameters()) == 8_401_152
    assert sum(p.numel() for p in own_layers.parameters()) == 10_506_496


@pytest.mark.parametrize("kind", ["shared", "last_layer", "separate"])
def test_patches_move_only_what_they_use(kind: str) -> None:
    head = Head(24, recipe(**SMALL, head=kind))
    head(torch.randn(3, 24), torch.randn(5, 24)).patch_MK.square().sum().backward()
    moved = {name for name, p in head.named_parameters() if p.grad is not None and bool(p.grad.any())}
    layer = "last_layer" if kind == "shared" else "last_layer2"
    assert {name for name in moved if "last_layer" in name} == {f"{layer}.weight_v"}
    assert any(name.startswith("patch_mlp" if kind == "separate" else "mlp") for name in moved)


def test_no_hidden_patch_at_all_is_no_error() -> None:
    head = Head(24, recipe(**SMALL))
    assert head(torch.randn(3, 24), torch.zeros(0, 24)).patch_MK.shape == (0, 16)
