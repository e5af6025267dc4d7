"""Dense heads and losses give the published numbers; the default head has full resolution and no checkerboard."""

from pathlib import Path

import numpy as np
import pytest
import torch

from visionfm.errors import DataError
from visionfm.tasks.maps.heads import HEADS, LightHead, LinearSegHead, UnetrHead, head_of_file, local_contrast
from visionfm.tasks.maps.losses import balanced_weights, dice_focal, point_loss
from visionfm.tasks.segmentation.fit import best_threshold


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden"


def loaded(head: torch.nn.Module, arrays: dict[str, np.ndarray], prefix: str) -> torch.nn.Module:
    state = {k.removeprefix(prefix): torch.from_numpy(arrays[k]) for k in arrays if k.startswith(prefix)}
    head.load_state_dict(state)  # strict: the published names, no other
    return head.eval()


@pytest.mark.parametrize(("name", "make"), [("unetr", UnetrHead), ("linear_seg", LinearSegHead)])
def test_published_heads_give_the_golden_outputs(golden: Path, name: str, make: type[torch.nn.Module]) -> None:
    arrays = dict(np.load(golden / "decoders.npz"))
    head = loaded(make(24, 3), arrays, f"{name}.param.")
    feats_LBPD = torch.from_numpy(arrays["unetr.feats"])
    with torch.no_grad():
        y = head(feats_LBPD.transpose(0, 1), torch.from_numpy(arrays["unetr.image"]))
    np.testing.assert_allclose(y.numpy(), arrays[f"{name}.y"], atol=1e-5)
    assert head_of_file(set(head.state_dict())) == name.removesuffix("_seg")


def test_unetr_has_the_published_size_and_wants_patches_of_16() -> None:
    head = UnetrHead(768, 5)
    assert len(head.state_dict()) == 134 and sum(p.numel() for p in head.parameters()) == 1_991_285
    with pytest.raises(DataError, match="doubles its maps"):
        UnetrHead(768, 5, 14)


def test_dice_focal_gives_the_golden_losses(golden: Path) -> None:
    arrays = {name: torch.from_numpy(value) for name, value in np.load(golden / "dice_focal.npz").items()}
    many = dice_focal(arrays["logits"], arrays["target"][:, 0])
    binary = dice_focal(arrays["logits_binary"], arrays["target_binary"][:, 0])
    torch.testing.assert_close(many, arrays["loss"], atol=1e-5, rtol=0)
    torch.testing.assert_close(binary, arrays["loss_binary"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_dice_focal_is_monais(weighted: bool) -> None:
    losses = pytest.importorskip("monai.losses")
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 4, 9, 7) * 3, torch.randint(0, 4, (2, 9, 7))
    weight = torch.tensor([0.5, 1.0, 2.0, 0.5]) if weighted else None
    same = {"include_background": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5, "weight": weight}
    oracle = losses.DiceFocalLoss(to_onehot_y=True, softmax=True, gamma=2.0, **same)
    torch.testing.assert_close(dice_focal(logits, truth, weight), oracle(logits, truth[:, None]))


def test_the_focal_loss_of_extreme_logits_is_finite_and_has_a_gradient() -> None:
    logits = torch.tensor([1e4, -1e4]).reshape(1, 1, 1, 2).requires_grad_()
    loss = dice_focal(logits, torch.tensor([[[0, 1]]]))
    loss.backward()
    assert torch.isfinite(loss) and logits.grad is not None and torch.isfinite(logits.grad).all()


def test_over_a_batch_a_class_that_an_image_lacks_is_unlearned_there() -> None:
    truth = torch.zeros(2, 8, 8, dtype=torch.long)
    truth[0, :4] = 1
    slopes = {}
    for over_batch in (False, True):
        logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
        focal = dice_focal(logits, truth, over_batch=over_batch)
        focal.backward()
        assert logits.grad is not None
        slopes[over_batch] = float(logits.grad[1].mean())
    assert slopes[True] > 1.3 * slopes[False] > 0
    alone = dice_focal(torch.ones(1, 1, 8, 8), truth[:1])
    torch.testing.assert_close(dice_focal(torch.ones(1, 1, 8, 8), truth[:1], over_batch=True), alone)


def test_local_contrast_takes_uneven_light_away() -> None:
    torch.manual_seed(0)
    grain = torch.randn(1, 3, 96, 96)
    light = torch.linspace(0, 30, 96).expand(1, 3, 96, 96)
    even, uneven = local_contrast(grain), local_contrast(3 * grain + light)
    inner = (..., slice(24, 72), slice(24, 72))
    assert torch.corrcoef(torch.stack([even[inner].flatten(), uneven[inner].flatten()]))[0, 1] > 0.95
    assert torch.isfinite(local_contrast(torch.zeros(1, 3, 8, 8))).all()


def test_balanced_weights_make_up_for_rarity() -> None:
    weights = balanced_weights(torch.tensor([900, 100, 0]))
    torch.testing.assert_close(weights, torch.tensor([0.2, 1.8, 0.0]))


@pytest.mark.parametrize("name", ["light", "linear"])
@pytest.mark.parametrize(("patch_px", "size_px"), [(16, 64), (14, 70)])
def test_heads_answer_at_the_images_own_size_for_any_patch(name: str, patch_px: int, size_px: int) -> None:
    head = HEADS[name](24, 2, patch_px)
    tokens = torch.randn(3, 4, (size_px // patch_px) ** 2, 24)
    assert head(tokens, torch.randn(3, 3, size_px, size_px)).shape == (3, 2, size_px, size_px)


def test_light_head_sees_tokens_and_pixels_and_leaves_no_checkerboard() -> None:
    torch.manual_seed(0)
    head = LightHead(24, 1)
    tokens, image = torch.randn(1, 4, 16, 24), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        base = head(tokens, image)
        assert (head(tokens + torch.randn_like(tokens), image) - base).abs().max() > 1e-3
        changed = image.clone()
        changed[..., 30, 30] += 3
        assert (head(tokens, changed) - base)[..., 30, 30].abs() > 1e-4
        head.eval()
        flat = head(torch.ones_like(tokens), torch.zeros_like(image))[0, 0, 16:48, 16:48]
    # Deconvolutions leave a pattern of period two on a constant input: steps inside pairs unlike those between.
    for lines in (flat, flat.T):
        within, between = (lines[0:-1:2] - lines[1::2]).mean(), (lines[1:-1:2] - lines[2::2]).mean()
        assert (within - between).abs() < 0.01


def test_the_best_threshold_is_that_of_the_mean_dice_over_images() -> None:
    truth = torch.tensor([[1, 1, 0, 0]])
    sure, unsure = torch.tensor([[0.9, 0.7, 0.62, 0.1]]), torch.tensor([[0.9, 0.68, 0.4, 0.1]])
    assert best_threshold([(sure, truth), (unsure, truth)]) == 0.65
    assert best_threshold([(unsure, truth)]) == 0.5, "of equally good ones the nearest to 0.5"
    nothing = torch.zeros(1, 4)
    assert best_threshold([(nothing, nothing.long()), (unsure, truth)]) == 0.5
    assert best_threshold([(nothing, nothing.long())]) == 0.5


def test_the_point_loss_is_least_at_its_target_and_passes_absent_points_over() -> None:
    points = torch.tensor([[[5.3, 2.0], [float("nan"), float("nan")]]])
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing="ij")
    right = -((x - 5.3) ** 2 + (y - 2) ** 2) / 2
    logits = torch.stack([right, torch.zeros_like(right)])[None]
    at_target = point_loss(logits, points, 1.0)
    assert at_target < point_loss(torch.roll(logits, 1, dims=3), points, 1.0)
    other = logits.clone()
    other[0, 1] += torch.randn(8, 10)
    assert point_loss(other, points, 1.0) == at_target
    one_pixel = point_loss(logits, points, 0.0)
    torch.testing.assert_close(one_pixel, -right.flatten().log_softmax(0)[2 * 10 + 5])
