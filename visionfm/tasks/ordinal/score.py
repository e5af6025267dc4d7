"""What is asked of grades: agreement as a whole, each cut as a yes or no, each grade against the rest.

The grade called is the expected grade, rounded: the call whose expected squared miss is smallest, and the squared miss
is what quadratic kappa counts. The most probable grade minimises the share of misses, the median their mean size.
Shapes: D draws, N samples, G grades, C = G - 1 cuts (`>= k` for k from 1 on).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.binary import Binary, operating_points
from visionfm.metrics.evidence import Evidence, Mean
from visionfm.metrics.multiclass import Multiclass
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Values, ratio
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.score import Points, Wanted, called_at


class Grades(Multiclass):
    """Grades as a whole: quadratic kappa, accuracy, and the mean absolute error in grades."""

    def __init__(self, truth_N: Floats, called_N: NDArray[np.intp], grades: Sequence[str]) -> None:
        """`truth_N` are grades, NaN where unknown; `called_N` those called."""
        super().__init__(truth_N, called_N, grades, ordered=True)
        self.miss_N = np.where(self.known_N, np.abs(truth_N - called_N), 0.0)

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        # Whole numbers: exact in floating point, so that the order of BLAS's sums does not matter.
        error_D = ratio(weights_DN @ self.miss_N, weights_DN @ self.known_N.astype(np.float64))
        return {**super().__call__(weights_DN), ("mae", None): error_D}

    def evidence(self, left: Values, subjects: Subjects) -> dict[tuple[str, str | None], Evidence]:
        """Return what each metric's interval is computed from; `left` are all values of `left_out`."""
        miss_N = np.where(self.known_N, self.miss_N, np.nan)
        return {**super().evidence(left, subjects), ("mae", None): Mean(miss_N)}

    def why_undefined(self, metric: str, point: str | None = None) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        return super().why_undefined("accuracy" if metric == "mae" else metric)


def called(score_NG: Floats) -> NDArray[np.intp]:
    """Return the grade called from the probabilities of the grades: the expected one, rounded (halves go up)."""
    expected_N = score_NG @ np.arange(score_NG.shape[1])
    calls: NDArray[np.intp] = np.floor(expected_N + 0.5).astype(np.intp)
    return calls


def cuts(classes: Sequence[str], truth_N: Floats, score_NG: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Return `>= grade` -> whether it is (N; NaN where unknown), and the probability that it is (N)."""
    found = {}
    for k, name in enumerate(classes[1:], start=1):
        reached_N = np.where(np.isnan(truth_N), np.nan, truth_N >= k)
        found[f">= {name}"] = (reached_N, score_NG[:, k:].sum(axis=1))
    return found


def thresholds(target: TargetSpec, truth_NK: Floats, score_NK: Floats, wanted: Wanted) -> list[Points]:
    """Return the operating points of each cut, chosen on these validation samples."""
    return [operating_points(*cut, wanted) for cut in cuts(target.classes, truth_NK[:, 0], score_NK).values()]


def scorers(
    target: TargetSpec, truth_NK: Floats, score_NK: Floats, chosen_K: Sequence[Points]
) -> dict[str | None, Any]:
    """Return label -> what measures these samples: the cuts, then each grade as it was called, then the whole."""
    truth_N, called_N = truth_NK[:, 0], called(score_NK)
    found: dict[str | None, Any] = {}
    of_cuts = cuts(target.classes, truth_N, score_NK).items()
    for (label, (reached_N, score_N)), points in zip(of_cuts, chosen_K, strict=True):
        found[label] = Binary(reached_N, score_N, called_at(score_N, points))
    for k, label in enumerate(target.classes):
        is_k_N = np.where(np.isnan(truth_N), np.nan, truth_N == k)
        found[label] = Binary(is_k_N, score_NK[:, k], {None: called_N == k})
    return found | {None: Grades(truth_N, called_N, target.classes)}
