"""Metrics of a yes-or-no question as functions of sample weights, and the threshold that validation data choose.

Shape legend: D draws, N samples, G groups of equal scores.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.weighted import Floats, Mask, Values, ratio

AT_THRESHOLD = ("f1", "sensitivity", "specificity", "balanced_accuracy")
NEEDS_POSITIVE = frozenset({"auroc", "average_precision", "f1", "sensitivity", "balanced_accuracy"})
NEEDS_NEGATIVE = frozenset({"auroc", "average_precision", "specificity", "balanced_accuracy"})


class Binary:
    """One yes-or-no question: ranking, threshold and calibration metrics."""

    def __init__(self, truth_N: Floats, score_N: Floats, calls: Mapping[str | None, Mask | None]) -> None:
        """`truth_N` is 0 or 1, NaN where unknown (masked); `score_N` is a probability.

        `calls` are the positive calls_N at each operating point; None where the point does not exist.
        """
        known_N = ~np.isnan(truth_N)
        self.positive_N = known_N & (truth_N == 1)
        self.known_N = known_N
        self.calls = calls
        self.square_N = np.where(known_N, (score_N - truth_N) ** 2, 0.0)
        self._sort(np.flatnonzero(known_N), score_N)

    def _sort(self, known: NDArray[np.intp], score_N: Floats) -> None:
        """Order the known samples by falling score, and find the groups of equal scores that hold a positive."""
        self.order = known[np.argsort(-score_N[known], kind="stable")]
        sorted_N = score_N[self.order]
        starts = np.flatnonzero(np.append(True, sorted_N[1:] != sorted_N[:-1])) if len(known) else known
        ends = np.append(starts[1:], len(known))
        ranked = np.flatnonzero(self.positive_N[self.order])
        group, self.first_of_G = np.unique(np.searchsorted(starts, ranked, side="right") - 1, return_index=True)
        self.starts_G, self.ends_G = starts[group], ends[group]
        self.positives = self.order[ranked]

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        columns = [self.known_N, self.positive_N]
        for call_N in self.calls.values():
            if call_N is not None:
                columns += [call_N & self.positive_N, call_N & self.known_N]
        # Counts: exact in floating point, so that the order of BLAS's sums does not matter.
        n_D, positives_D, *called = (weights_DN @ np.stack(columns, 1).astype(np.float64)).T
        values: Values = {}
        values["auroc", None], values["average_precision", None] = self._ranked(weights_DN, n_D, positives_D)
        for point, call_N in self.calls.items():
            if call_N is None:
                values |= {(metric, point): np.full(len(n_D), np.nan) for metric in AT_THRESHOLD}
            else:
                true_D, called_D, *called = called
                values |= {
                    (metric, point): value_D
                    for metric, value_D in zip(
                        AT_THRESHOLD, at_threshold(true_D, called_D, positives_D, n_D), strict=True
                    )
                }
        values["brier", None] = ratio(np.einsum("dn,n->d", weights_DN, self.square_N), n_D)
        return values

    def _ranked(self, weights_DN: Floats, n_D: Floats, positives_D: Floats) -> tuple[Floats, Floats]:
        """Return AUROC (Mann-Whitney, ties count half) and average precision (tied scores enter together).

        Both are sums over positives; G are the groups of equal scores that hold one.
        """
        if len(self.positives) == 0:
            return np.full(len(n_D), np.nan), np.full(len(n_D), np.nan)
        above_DN = np.zeros((len(n_D), len(self.order) + 1))
        np.cumsum(weights_DN[:, self.order], axis=1, out=above_DN[:, 1:])
        called_DG, before_DG = above_DN[:, self.ends_G], above_DN[:, self.starts_G]
        tied_DG = np.add.reduceat(weights_DN[:, self.positives], self.first_of_G, axis=1)
        true_DG = np.cumsum(tied_DG, axis=1)
        precision_DG = true_DG / np.maximum(called_DG, 1.0)  # called is 0 only where true is, too
        precision_D = ratio(np.einsum("dg,dg->d", tied_DG, precision_DG), positives_D)
        # Twice the negatives called before a positive, those tied with it counted half.
        false_DG = called_DG + before_DG - 2 * true_DG + tied_DG
        negatives_D = n_D - positives_D
        discordant_D = np.einsum("dg,dg->d", tied_DG, false_DG) / 2
        auroc_D = 1 - ratio(discordant_D, positives_D * negatives_D)
        return auroc_D, np.where(negatives_D > 0, precision_D, np.nan)

    def present(self, weights_DN: Floats) -> Mask:
        """Return in which draws the class occurs."""
        count_D: Floats = weights_DN @ self.positive_N.astype(np.float64)
        return count_D > 0

    def why_undefined(self, metric: str) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        n, positives = int(self.known_N.sum()), int(self.positive_N.sum())
        if n == 0:
            return "no sample with a known answer"
        if positives == 0 and metric in NEEDS_POSITIVE:
            return f"no positive case among {n} known"
        if positives == n and metric in NEEDS_NEGATIVE:
            return f"no negative case among {n} known"
        return None


def at_threshold(true_D: Floats, called_D: Floats, positives_D: Floats, n_D: Floats) -> tuple[Floats, ...]:
    """Return F1, sensitivity, specificity and balanced accuracy from counts: true calls, calls, positives, samples."""
    negatives_D = n_D - positives_D
    f1_D = np.where(positives_D > 0, ratio(2 * true_D, positives_D + called_D), np.nan)
    sensitivity_D = ratio(true_D, positives_D)
    specificity_D = ratio(negatives_D - (called_D - true_D), negatives_D)
    return f1_D, sensitivity_D, specificity_D, (sensitivity_D + specificity_D) / 2


def youden_threshold(truth_N: Floats, score_N: Floats) -> float | str:
    """Return the threshold with the largest Youden index (sensitivity + specificity - 1), or why there is none.

    A call is score >= threshold. It lies midway between two scores, so that it does not sit on one validation sample;
    of equals the lowest is taken, the most sensitive one. Unknown truths (NaN) are left out.
    """
    known_N = ~np.isnan(truth_N)
    positive_N: NDArray[np.bool_] = truth_N[known_N] == 1
    if len(positive_N) == 0:
        return "no threshold: no validation sample with a known answer"
    if positive_N.all() or not positive_N.any():
        missing = "negative" if positive_N.all() else "positive"
        return f"no threshold: no {missing} case among {len(positive_N)} known in the validation split"
    scores_G, group_N = np.unique(score_N[known_N], return_inverse=True)
    positives_G = np.bincount(group_N, weights=positive_N)
    negatives_G = np.bincount(group_N, weights=~positive_N)
    # In whole numbers, so that equal J are equal.
    found_G = np.cumsum(positives_G[::-1])[::-1] * negatives_G.sum()
    false_G = np.cumsum(negatives_G[::-1])[::-1] * positives_G.sum()
    best = int(np.argmax(found_G - false_G))
    if best == 0:
        return float(scores_G[0])
    middle = (scores_G[best - 1] + scores_G[best]) / 2
    return float(middle if middle > scores_G[best - 1] else scores_G[best])
