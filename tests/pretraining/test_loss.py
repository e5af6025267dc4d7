"""The losses equal the published ones, though only hidden patches are scored; Sinkhorn-Knopp and KoLeo as defined."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from world.pretraining_recipes import recipe

from visionfm.pretraining import loss
from visionfm.pretraining.schedules import Schedules

IMAGES, PATCHES, PROTOTYPES = 3, 16, 32


def test_three_steps_equal_the_golden_ones_though_only_hidden_patches_are_scored(shared: Path) -> None:
    golden = np.load(shared / "golden" / "ibot_loss.npz")
    schedules = Schedules(recipe(epochs=100), steps_per_epoch=1, batch=IMAGES)
    centres = {kind: loss.Centre(PROTOTYPES, 0.9) for kind in ("cls", "patch")}
    for step in ("s0", "s1", "s2"):
        given = {name: torch.from_numpy(golden[f"{step}_{name}"]) for name in (
            "student_cls", "student_patch", "teacher_cls", "teacher_patch", "student_local_cls", "masks"
        )}  # fmt: skip
        values = schedules.at(int(golden[f"{step}_epoch"]))
        student_VBK = torch.cat([given["student_cls"], given["student_local_cls"]]).unflatten(0, (4, IMAGES))
        cls_GBK = loss.targets(
            given["teacher_cls"], centres["cls"].bias(values.teacher_temp), values.teacher_temp
        ).unflatten(0, (2, IMAGES))
        masks_GBP = given["masks"][:2].flatten(2)
        hidden = masks_GBP.flatten()
        patch_MK = loss.targets(
            given["teacher_patch"].flatten(0, 1)[hidden], centres["patch"].bias(values.patch_temp), values.patch_temp
        )
        student_MK = given["student_patch"].flatten(0, 1)[hidden]
        cls = loss.views_loss(student_VBK, cls_GBK, 0.1) / IMAGES
        patch = loss.patches_loss(student_MK, patch_MK, loss.patch_weights(masks_GBP), 0.1) / IMAGES
        np.testing.assert_allclose(cls, golden[f"{step}_loss_cls"], atol=1e-5)
        np.testing.assert_allclose(patch, golden[f"{step}_loss_patch"], atol=1e-5)
        centres["cls"].add(given["teacher_cls"].sum(dim=0), 2 * IMAGES)
        centres["patch"].add(given["teacher_patch"].mean(dim=1).sum(dim=0), 2 * IMAGES)
        for kind, centre in centres.items():
            centre.move()
            np.testing.assert_allclose(centre.mean_K, golden[f"{step}_center_{kind}"].reshape(-1), atol=1e-5)


def sinkhorn_by_hand(scores_NK: torch.Tensor, temperature: float, iterations: int) -> torch.Tensor:
    """Sinkhorn-Knopp as SwAV and DINOv2 write it, on the whole matrix."""
    q_KN = (scores_NK.double() / temperature).exp().T
    q_KN /= q_KN.sum()
    for _ in range(iterations):
        q_KN /= q_KN.sum(dim=1, keepdim=True) * q_KN.shape[0]
        q_KN /= q_KN.sum(dim=0, keepdim=True) * q_KN.shape[1]
    return (q_KN * q_KN.shape[1]).T.float()


@pytest.mark.parametrize("parts", [1, 3])
def test_sinkhorn_in_parts_equals_the_plain_algorithm_on_the_whole_matrix(parts: int) -> None:
    scores_NK = functional.normalize(torch.randn(48, 20, generator=torch.Generator().manual_seed(0)), dim=1)
    bias_K = loss.sinkhorn_bias(lambda part: part, scores_NK.split(48 // parts), 0.07, 3)
    found = loss.targets(scores_NK, bias_K, 0.07)
    np.testing.assert_allclose(found, sinkhorn_by_hand(scores_NK, 0.07, 3), atol=1e-5)


def test_sinkhorn_uses_all_prototypes_alike() -> None:
    scores_NK = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    scores_NK[:, 0] += 0.5  # without balance, the first prototype would take all
    bias_K = loss.sinkhorn_bias(lambda part: part, [scores_NK], 0.05, 30)
    np.testing.assert_allclose(loss.targets(scores_NK, bias_K, 0.05).sum(dim=0), np.full(8, 8.0), rtol=0.05)


def test_without_tokens_there_is_nothing_to_balance() -> None:
    assert not loss.sinkhorn_bias(lambda part: part, [torch.zeros(0, 4)], 0.05, 3).any()


def test_koleo_is_minus_the_log_distance_to_the_nearest_other() -> None:
    cls_VBD = functional.normalize(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.1]]]), dim=-1)
    distances = torch.cdist(cls_VBD[0], cls_VBD[0]).fill_diagonal_(torch.inf).amin(dim=1)
    assert float(loss.koleo_loss(cls_VBD)) == pytest.approx(float(-distances.log().sum()), abs=1e-5)


def test_the_effective_rank_counts_directions() -> None:
    assert loss.rank_me(torch.eye(10)) == pytest.approx(10, rel=1e-3)
    assert loss.rank_me(torch.ones(50, 10)) == pytest.approx(1, abs=0.01)
