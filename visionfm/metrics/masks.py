"""Metrics of one image's mask against the truth, by class; NaN where a metric does not exist.

Classes are scored one against the rest, inside the field of view where there is one. `macro` is the mean over the
classes but the background (the first), `macro with background` over all, each over those that have a value. A class
that is absent from truth and prediction has no value. One that is missed, or found where it is not, counts as the worst
there is: Dice and precision 0, HD95 the image's diagonal; so no mean rewards a model for not finding a class.
Of the slices of a volume the pixels are counted too, so that the voxels of those with a mask can be scored as one.
Shapes: H/W px, upright; `probability` is of 16 bits, 65535 for 1; V volumes, C classes.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from visionfm.metrics.thinning import skeleton

Mask = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]
Probability = npt.NDArray[np.uint16]
Scores = dict[tuple[str, str], float]  # (class, metric) -> value
MACRO, WITH_BACKGROUND = "macro", "macro with background"
OVERLAP = ("dice", "iou", "sensitivity", "specificity", "precision")
MASK_METRICS = (*OVERLAP, "hd95", "hd95_mm", "cldice", "auroc")
COUNTS = ("truth_px", "said_px", "both_px")  # of a class in a slice: in the truth, in the prediction, in both
VOLUME_DICE = "dice_of_volume"
NAN = float("nan")


def mask_scores(
    truth_HW: Classes,
    predicted_HW: Classes,
    classes: Sequence[str],
    inside_HW: Mask | None = None,
    mm_per_px: tuple[float, float] | None = None,
    tubular: bool = False,
    probabilities: Mapping[int, Probability] | None = None,
) -> Scores:
    """Return all metrics of one image; `mm_per_px` is the size of a pixel, (across, down)."""
    if truth_HW.shape != predicted_HW.shape or (inside_HW is not None and inside_HW.shape != truth_HW.shape):
        raise ValueError(f"expected maps of {truth_HW.shape}, found {predicted_HW.shape}")
    inside_HW = np.ones(truth_HW.shape, bool) if inside_HW is None else inside_HW
    scores: Scores = {}
    for index, name in enumerate(classes):
        true_HW, said_HW = (truth_HW == index) & inside_HW, (predicted_HW == index) & inside_HW
        own = overlap(true_HW, said_HW, int(inside_HW.sum()))
        if index > 0:
            own["hd95"] = hausdorff95(true_HW, said_HW)
            if mm_per_px is not None:
                across, down = mm_per_px
                square = across == down
                own["hd95_mm"] = own["hd95"] * across if square else hausdorff95(true_HW, said_HW, mm_per_px)
            if tubular:
                own["cldice"] = centre_line_dice(true_HW, said_HW)
            if probabilities is not None and index in probabilities:
                own["auroc"] = pixel_auroc(true_HW[inside_HW], probabilities[index][inside_HW])
        scores |= {(name, metric): value for metric, value in own.items()}
    for label, members in ((MACRO, classes[1:]), (WITH_BACKGROUND, classes)):
        for metric in dict.fromkeys(metric for name, metric in scores if name in members):
            if label == WITH_BACKGROUND and metric not in OVERLAP:
                continue
            values = [scores[name, metric] for name in members if (name, metric) in scores]
            known = [value for value in values if not np.isnan(value)]
            scores[label, metric] = sum(known) / len(known) if known else NAN
    return scores


def pixel_counts(
    truth_HW: Classes, predicted_HW: Classes, classes: Sequence[str], inside_HW: Mask | None = None
) -> Scores:
    """Return how many pixels each class has, by COUNTS."""
    inside_HW = np.ones(truth_HW.shape, bool) if inside_HW is None else inside_HW
    counts: Scores = {}
    for index, name in enumerate(classes):
        true_HW, said_HW = (truth_HW == index) & inside_HW, (predicted_HW == index) & inside_HW
        sums = (true_HW.sum(), said_HW.sum(), (true_HW & said_HW).sum())
        counts |= {(name, what): float(count) for what, count in zip(COUNTS, sums, strict=True)}
    return counts


def volume_dice(counts_VC3: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return each volume's Dice over the voxels of its slices that have a mask: the mean of the classes that occur.

    NaN where none does.
    """
    truth_VC, said_VC, both_VC = np.moveaxis(counts_VC3, 2, 0)
    total_VC = truth_VC + said_VC
    known_VC = total_VC > 0
    dice_VC = np.where(known_VC, 2 * both_VC / np.maximum(total_VC, 1), 0)
    return np.where(known_VC.any(1), dice_VC.sum(1) / np.maximum(known_VC.sum(1), 1), np.nan)


# --- one class ------------------------------------------------------------------------------------------------------


def overlap(true_HW: Mask, said_HW: Mask, pixels: int) -> dict[str, float]:
    """Return the metrics of counts; `pixels` is how many count at all."""
    both, true, said = int((true_HW & said_HW).sum()), int(true_HW.sum()), int(said_HW.sum())
    neither = pixels - true - said + both
    return {
        "dice": _ratio(2 * both, true + said),
        "iou": _ratio(both, true + said - both),
        "sensitivity": _ratio(both, true),
        "specificity": _ratio(neither, pixels - true),
        "precision": _ratio(both, said) if said or not true else 0.0,
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else NAN


def hausdorff95(true_HW: Mask, said_HW: Mask, size: tuple[float, float] = (1.0, 1.0)) -> float:
    """Return the 95th percentile of the distances between the two borders, the larger of both directions.

    In the unit of `size`, that of a pixel (across, down): px unless it says otherwise. The diagonal of the image where
    one of the two is empty, NaN where both are.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    if not true_HW.any() and not said_HW.any():
        return NAN
    if not true_HW.any() or not said_HW.any():
        return math.hypot(true_HW.shape[0] * size[1], true_HW.shape[1] * size[0])
    either_HW = true_HW | said_HW
    rows, columns = np.flatnonzero(either_HW.any(axis=1)), np.flatnonzero(either_HW.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    borders = [mask[box] & ~binary_erosion(mask[box]) for mask in (true_HW, said_HW)]
    directed = [
        np.percentile(distance_transform_edt(~one, sampling=size[::-1])[other], 95)
        for one, other in ((borders[0], borders[1]), (borders[1], borders[0]))
    ]
    return float(max(directed))


def centre_line_dice(true_HW: Mask, said_HW: Mask) -> float:
    """Return clDice: how well the centre lines of each lie within the other; 0 where one of them is empty."""
    if not true_HW.any() and not said_HW.any():
        return NAN
    if not true_HW.any() or not said_HW.any():
        return 0.0
    true_line, said_line = skeleton(true_HW), skeleton(said_HW)
    precision = (said_line & true_HW).sum() / said_line.sum()
    sensitivity = (true_line & said_HW).sum() / true_line.sum()
    total = precision + sensitivity
    return float(2 * precision * sensitivity / total) if total else 0.0


def pixel_auroc(true_N: Mask, probability_N: Probability) -> float:
    """Return the chance that a pixel of the class has the higher probability than one outside it; ties count half."""
    counts = np.bincount(probability_N, minlength=1 << 16).astype(np.float64)
    positive = np.bincount(probability_N[true_N], minlength=1 << 16).astype(np.float64)
    negative = counts - positive
    if not positive.any() or not negative.any():
        return NAN
    below = np.concatenate([[0.0], np.cumsum(negative)[:-1]])
    return float(positive @ (below + negative / 2) / (positive.sum() * negative.sum()))
