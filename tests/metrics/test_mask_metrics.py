"""Metrics of masks agree with MONAI, scipy and scikit-learn, and have no value where they do not exist."""

import math

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label
from sklearn.metrics import roc_auc_score

from visionfm.metrics.masks import (
    COUNTS,
    MACRO,
    WITH_BACKGROUND,
    centre_line_dice,
    hausdorff95,
    mask_scores,
    pixel_auroc,
    pixel_counts,
    volume_dice,
)
from visionfm.metrics.thinning import skeleton

CLASSES = ["background", "one", "two"]


def maps(seed: int, shape: tuple[int, int] = (40, 56), classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A truth of smooth patches, and a prediction that errs in some of it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (shape[0] // 8, shape[1] // 8))
    truth = np.kron(coarse, np.ones((8, 8))).astype(np.uint8)
    predicted = np.roll(truth, (int(rng.integers(-3, 4)), int(rng.integers(-3, 4))), (0, 1)).copy()
    predicted[rng.random(shape) < 0.03] = 0
    return truth, predicted


def one_hot(mask: np.ndarray, classes: int = 3):
    import torch

    return torch.nn.functional.one_hot(torch.tensor(mask.astype(np.int64)), classes).permute(2, 0, 1)[None]


@pytest.mark.parametrize("seed", range(6))
def test_overlap_agrees_with_monai(seed: int) -> None:
    from monai.metrics import DiceMetric, MeanIoU, compute_confusion_matrix_metric, get_confusion_matrix

    truth, predicted = maps(seed)
    ours = mask_scores(truth, predicted, CLASSES)
    y, y_hat = one_hot(truth), one_hot(predicted)
    dice = DiceMetric(include_background=True, reduction="none")(y_hat, y)[0]
    iou = MeanIoU(include_background=True, reduction="none")(y_hat, y)[0]
    matrix = get_confusion_matrix(y_hat, y, include_background=True)
    for index, name in enumerate(CLASSES):
        assert ours[name, "dice"] == pytest.approx(float(dice[index]), nan_ok=True, abs=1e-6)
        assert ours[name, "iou"] == pytest.approx(float(iou[index]), nan_ok=True, abs=1e-6)
        for metric in ("sensitivity", "specificity", "precision"):
            theirs = float(compute_confusion_matrix_metric(metric, matrix)[0, index])
            assert ours[name, metric] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_hausdorff_agrees_with_monai(seed: int) -> None:
    from monai.metrics import compute_hausdorff_distance

    truth, predicted = maps(seed)
    theirs = compute_hausdorff_distance(one_hot(predicted), one_hot(truth), include_background=False, percentile=95)[0]
    ours = mask_scores(truth, predicted, CLASSES, mm_per_px=(0.5, 0.5))
    for index, name in enumerate(CLASSES[1:]):
        assert ours[name, "hd95"] == pytest.approx(float(theirs[index]), abs=1e-4)
        assert ours[name, "hd95_mm"] == ours[name, "hd95"] / 2
    assert ("background", "hd95") not in ours
    spaced = mask_scores(truth, predicted, CLASSES, mm_per_px=(0.25, 0.5))  # twice as far down as across
    theirs = compute_hausdorff_distance(
        one_hot(predicted), one_hot(truth), include_background=False, percentile=95, spacing=[0.5, 0.25]
    )[0]
    for index, name in enumerate(CLASSES[1:]):
        assert spaced[name, "hd95"] == ours[name, "hd95"]
        assert spaced[name, "hd95_mm"] == pytest.approx(float(theirs[index]), abs=1e-4)


def test_auroc_agrees_with_scikit_learn_ties_included() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(2000) < 0.2
    for levels in (5, 65536):
        probability = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1) * (levels - 1)
        probability = probability.round().astype(np.uint16)
        assert pixel_auroc(truth, probability) == pytest.approx(roc_auc_score(truth, probability), abs=1e-12)


# --- skeletons and clDice -------------------------------------------------------------------------------------------


def branching(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 70), bool)
    for _ in range(4):
        (r, c), (dr, dc) = rng.uniform(8, 50, 2), rng.normal(0, 1, 2)
        for _ in range(40):
            r, c = r + dr / math.hypot(dr, dc), c + dc / math.hypot(dr, dc)
            mask[int(np.clip(r, 0, 59)), int(np.clip(c, 0, 69))] = True
    return binary_dilation(mask, iterations=int(rng.integers(1, 4)))


@pytest.mark.parametrize("seed", range(8))
def test_a_skeleton_keeps_parts_and_holes_and_is_thin(seed: int) -> None:
    mask = branching(seed)
    thin = skeleton(mask)
    eight = np.ones((3, 3))
    assert not (thin & ~mask).any() and 0 < thin.sum() < mask.sum() / 2
    assert label(thin, eight)[1] == label(mask, eight)[1]
    assert label(np.pad(~thin, 1, constant_values=True))[1] == label(np.pad(~mask, 1, constant_values=True))[1]
    blocks = thin[1:, 1:] & thin[:-1, 1:] & thin[1:, :-1] & thin[:-1, :-1]
    assert blocks.sum() <= thin.sum() // 20
    assert np.array_equal(skeleton(thin), thin)


def test_the_skeleton_of_a_bar_is_its_middle() -> None:
    mask = np.zeros((15, 40), bool)
    mask[4:11, 5:35] = True
    rows, columns = np.nonzero(skeleton(mask))
    assert set(rows[(columns > 9) & (columns < 30)]) == {7}
    assert not skeleton(np.zeros((4, 4), bool)).any()
    assert skeleton(np.ones((2, 2), bool)).sum() >= 1


def test_centre_line_dice_is_one_for_a_wider_vessel_and_falls_when_a_branch_is_missed() -> None:
    line = np.zeros((40, 60), bool)
    line[19:22, 5:55] = True
    assert centre_line_dice(line, line) == 1.0
    assert centre_line_dice(line, binary_dilation(line, iterations=2)) == pytest.approx(1.0, abs=0.05)
    half = line.copy()
    half[:, 30:] = False
    assert centre_line_dice(line, half) == pytest.approx(2 / 3, abs=0.03)  # all of it right, half of it found
    elsewhere = np.roll(line, 12, 0)
    assert centre_line_dice(line, elsewhere) == 0.0


# --- where a metric does not exist ----------------------------------------------------------------------------------


def test_a_class_absent_from_both_has_no_value_and_from_one_has_zero() -> None:
    truth, predicted = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    truth[:4] = 1
    scores = mask_scores(truth, predicted, CLASSES, tubular=True)
    assert scores["one", "dice"] == scores["one", "iou"] == scores["one", "sensitivity"] == scores["one", "cldice"] == 0
    assert scores["one", "precision"] == 0 and scores["one", "hd95"] == math.hypot(8, 8)
    assert all(math.isnan(scores["two", metric]) for metric in ("dice", "iou", "sensitivity", "precision", "hd95"))
    assert math.isnan(scores["two", "cldice"]) and scores["two", "specificity"] == 1
    assert scores[MACRO, "dice"] == 0  # of the one class that exists
    assert scores[WITH_BACKGROUND, "dice"] == pytest.approx((0 + 2 * 32 / 96) / 2)
    assert math.isnan(hausdorff95(truth == 2, predicted == 2))
    assert math.isnan(mask_scores(truth, predicted, CLASSES)["two", "hd95"])
    assert math.isnan(pixel_auroc(np.zeros(4, bool), np.arange(4, dtype=np.uint16)))


def test_a_missed_class_is_never_better_than_one_found_at_a_wrong_place_or_invented() -> None:
    truth = np.zeros((200, 100), np.uint8)
    truth[20:90, 20:90], truth[140:160, 40:60] = 1, 2
    missed, wrong = truth.copy(), truth.copy()
    missed[truth == 2] = wrong[truth == 2] = 0
    wrong[100:120, 80:100] = 2
    of_missed, of_wrong = (mask_scores(truth, said, CLASSES, mm_per_px=(0.01, 0.01)) for said in (missed, wrong))
    diagonal = math.hypot(200, 100)
    assert of_missed["two", "hd95"] == diagonal and of_missed[MACRO, "hd95"] == diagonal / 2
    assert of_missed["two", "hd95_mm"] == pytest.approx(diagonal / 100)
    assert 0 < of_wrong["two", "hd95"] < diagonal and of_wrong[MACRO, "hd95"] < of_missed[MACRO, "hd95"]
    assert of_missed["two", "precision"] == of_wrong["two", "precision"] == 0
    assert of_missed[MACRO, "precision"] == of_wrong[MACRO, "precision"] == 0.5
    invented = mask_scores(missed, truth, CLASSES)  # the class where the truth has none
    assert invented["two", "hd95"] == diagonal and invented["two", "precision"] == 0
    assert math.isnan(invented["two", "sensitivity"])


def test_only_the_field_of_view_counts() -> None:
    truth, predicted = maps(3, classes=2)
    inside = np.zeros(truth.shape, bool)
    inside[:, 8:40] = True
    probability = {1: predicted.astype(np.uint16) * 40000 + 10000}
    whole = mask_scores(truth[:, 8:40], predicted[:, 8:40], CLASSES[:2], tubular=True,
                        probabilities={1: probability[1][:, 8:40]})  # fmt: skip
    assert mask_scores(truth, predicted, CLASSES[:2], inside, None, True, probability) == pytest.approx(whole)


def test_maps_of_different_sizes_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="expected maps"):
        mask_scores(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), CLASSES)


def test_dice_of_a_volume_from_the_counts_of_its_slices_is_that_of_its_voxels() -> None:
    slices = [maps(seed) for seed in range(5)]
    counts_VC3 = np.zeros((1, 3, 3))
    for truth, said in slices:
        counts = pixel_counts(truth, said, CLASSES)
        counts_VC3[0] += [[counts[name, what] for what in COUNTS] for name in CLASSES]
    whole = mask_scores(*(np.concatenate(arrays) for arrays in zip(*slices, strict=True)), CLASSES)
    assert [float(volume_dice(counts_VC3[:, [c]])[0]) for c in range(3)] == pytest.approx(
        [whole[name, "dice"] for name in CLASSES]
    )
    assert volume_dice(counts_VC3[:, 1:]) == pytest.approx([whole[MACRO, "dice"]])
    assert np.isnan(volume_dice(np.zeros((1, 2, 3)))).all(), "a class that is nowhere has no Dice"
