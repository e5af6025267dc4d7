"""AUROC by placements (each sample's rank among those of the other kind), and its variance over subjects.

Sorting alone, O(N log N). Source: Obuchowski (Biometrics 1997, 53:567), which is DeLong's variance (Biometrics 1988,
44:837) where each subject has one sample. Shape legend: N samples, S subjects, P positives, M negatives.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.limits import FEWEST_SUBJECTS
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats


@dataclass(frozen=True)
class Placements:
    """AUROC and each subject's sums of deviations: of its positives (X) and of its negatives (Y)."""

    value: float
    positive_S: Floats  # sum over the subject's positives of (share of negatives below - AUROC), over all positives
    negative_S: Floats
    with_condition: int  # subjects
    without_condition: int

    def variance(self) -> float:
        """Return Obuchowski's variance of the AUROC (1997, eq. 3 to 5), never negative."""
        return clustered_variance(self.positive_S, self.negative_S, self.with_condition, self.without_condition)


def clustered_variance(positive_S: Floats, negative_S: Floats, positives: int, negatives: int) -> float:
    """Return Obuchowski's variance of a sum of deviations of positives and negatives, of so many subjects each."""
    count = len(positive_S)
    return max(
        0.0,
        positives / (positives - 1) * float(positive_S @ positive_S)
        + negatives / (negatives - 1) * float(negative_S @ negative_S)
        + 2 * count / (count - 1) * float(positive_S @ negative_S),
    )


def placements(truth_N: Floats, score_N: Floats, subject_N: NDArray[np.intp], count: int) -> Placements | str:
    """Return AUROC and its subjects' deviations in O(N log N), ties count half; or why there is no interval."""
    positive_N, negative_N = truth_N == 1, truth_N == 0
    subjects = Subjects(subject_N, count)
    persons = [subjects.among(mask_N) for mask_N in (positive_N, negative_N)]
    for name, found in zip(("with the condition", "without the condition"), persons, strict=True):
        if found < FEWEST_SUBJECTS:
            return f"fewer than five subjects {name}: {found}"
    above_P, below_M = score_N[positive_N], score_N[negative_N]
    placed_P, placed_M = _share_below(above_P, below_M), 1 - _share_below(below_M, above_P)
    value = float(placed_P.mean())
    return Placements(
        value,
        np.bincount(subject_N[positive_N], placed_P - value, count) / len(placed_P),
        np.bincount(subject_N[negative_N], placed_M - value, count) / len(placed_M),
        *persons,
    )


def _share_below(score_A: Floats, others_B: Floats) -> Floats:
    """Return for each score the share of the others below it, those equal counted half."""
    ordered = np.sort(others_B)
    found = np.searchsorted(ordered, score_A, "left") + np.searchsorted(ordered, score_A, "right")
    return np.asarray(found / (2 * len(others_B)), np.float64)
