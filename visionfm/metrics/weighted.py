"""Metrics as functions of sample weights: a bootstrap draw is a vector of weights, all draws are matrix operations.

Weights count how often a sample was drawn, so that unit weights give the plain metric and integer weights that of the
repeated sample (tested against scikit-learn). A metric that does not exist for a draw is NaN there; `why_undefined`
says why.
Shape legend: D draws, N samples, G groups of equal scores, K classes.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Values = dict[tuple[str, str | None], Floats]  # (metric, operating point) -> values_D

RANKED = ("auroc", "average_precision")
AT_THRESHOLD = ("f1", "sensitivity", "specificity", "balanced_accuracy")
NEEDS_POSITIVE = frozenset({"auroc", "average_precision", "f1", "sensitivity", "balanced_accuracy"})
NEEDS_NEGATIVE = frozenset({"auroc", "average_precision", "specificity", "balanced_accuracy"})
# A sum of squares below this share of the raw one is rounding: the values drawn are all the same.
CONSTANT = 1e-12


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotient, NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


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


class Multiclass:
    """One of K classes as a whole: accuracy, balanced accuracy, quadratic kappa (where the classes are ordered)."""

    def __init__(self, truth_N: Floats, called_N: NDArray[np.intp], classes: int, ordered: bool) -> None:
        """`truth_N` are class indices, NaN where unknown; `called_N` the most probable classes."""
        self.classes, self.ordered = classes, ordered
        self.known_N = ~np.isnan(truth_N)
        truth = truth_N[self.known_N].astype(int)
        self.present_K = np.bincount(truth, minlength=classes) > 0
        self.cells_NC = np.zeros((len(truth_N), classes * classes))
        self.cells_NC[np.flatnonzero(self.known_N), truth * classes + called_N[self.known_N]] = 1

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        confusion_DKK = (weights_DN @ self.cells_NC).reshape(-1, self.classes, self.classes)  # truth, call
        values: Values = {
            ("accuracy", None): ratio(np.trace(confusion_DKK, axis1=1, axis2=2), confusion_DKK.sum(axis=(1, 2))),
            ("balanced_accuracy", None): balanced_accuracy(confusion_DKK),
        }
        if self.ordered:
            values["quadratic_kappa", None] = quadratic_kappa(confusion_DKK)
        return values

    def why_undefined(self, metric: str) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        n = int(self.known_N.sum())
        if n == 0:
            return "no sample with a known answer"
        if metric != "accuracy" and self.present_K.sum() < 2:
            return f"only one class among {n} known"
        return None


def balanced_accuracy(confusion_DKK: Floats) -> Floats:
    """Return the mean sensitivity over the classes that occur; NaN where fewer than two do."""
    positives_DK = confusion_DKK.sum(axis=2)
    hits_DK = np.diagonal(confusion_DKK, axis1=1, axis2=2)
    sensitivity_DK = np.divide(hits_DK, positives_DK, out=np.zeros_like(positives_DK), where=positives_DK > 0)
    present_D = (positives_DK > 0).sum(axis=1)
    return np.where(present_D > 1, sensitivity_DK.sum(axis=1) / np.maximum(present_D, 1), np.nan)


def quadratic_kappa(confusion_DKK: Floats) -> Floats:
    """Return Cohen's kappa with weights (i - j)^2 over all K grades; NaN where fewer than two occur in the truth."""
    grades_K = np.arange(confusion_DKK.shape[1])
    cost_KK = (grades_K[:, None] - grades_K[None, :]) ** 2.0
    truth_DK, called_DK = confusion_DKK.sum(axis=2), confusion_DKK.sum(axis=1)
    observed_D = (confusion_DKK * cost_KK).sum(axis=(1, 2)) * truth_DK.sum(axis=1)
    expected_D = (truth_DK[:, :, None] * called_DK[:, None, :] * cost_KK).sum(axis=(1, 2))
    return np.where((truth_DK > 0).sum(axis=1) > 1, 1 - ratio(observed_D, expected_D), np.nan)


class Regression:
    """A measured value: MAE and RMSE in its unit, R2, Pearson correlation."""

    def __init__(self, truth_N: Floats, value_N: Floats) -> None:
        """`truth_N` is NaN where unknown (masked)."""
        self.known_N = ~np.isnan(truth_N)
        truth, value = truth_N[self.known_N], value_N[self.known_N]
        self.constant_truth = len(truth) > 0 and bool(np.ptp(truth) == 0)
        self.constant_value = len(value) > 0 and bool(np.ptp(value) == 0)
        error = value - truth
        # Centred, so that variances from sums do not cancel.
        truth, value = (x - x.mean() if len(x) else x for x in (truth, value))
        self.sums = (np.ones(len(truth)), abs(error), error**2, truth, truth**2, value, value**2, truth * value)

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        known_DN = np.ascontiguousarray(weights_DN[:, self.known_N])
        # Not BLAS: its order of summation may change with the number of threads.
        n_D, absolute_D, square_D, t_D, tt_D, v_D, vv_D, tv_D = (
            np.einsum("dn,n->d", known_DN, column_N) for column_N in self.sums
        )
        share_D = ratio(np.ones_like(n_D), n_D)
        truth_D = _scatter(tt_D, t_D * t_D * share_D, self.constant_truth)
        value_D = _scatter(vv_D, v_D * v_D * share_D, self.constant_value)
        correlation_D = (tv_D - t_D * v_D * share_D) / np.sqrt(truth_D * value_D)
        return {
            ("mae", None): absolute_D * share_D,
            ("rmse", None): np.sqrt(square_D * share_D),
            ("r2", None): 1 - square_D / truth_D,
            ("pearson", None): np.clip(correlation_D, -1, 1),
        }

    def why_undefined(self, metric: str) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        n = int(self.known_N.sum())
        if n == 0:
            return "no sample with a known answer"
        if metric in ("r2", "pearson"):
            if n < 2:
                return "fewer than two samples with a known answer"
            if self.constant_truth:
                return f"all {n} true values are the same"
            if metric == "pearson" and self.constant_value:
                return f"all {n} predicted values are the same"
        return None


def _scatter(squares_D: Floats, mean_squares_D: Floats, constant: bool) -> Floats:
    """Return the sum of squares about the mean, NaN where there is no scatter."""
    scatter_D = squares_D - mean_squares_D
    return np.where((scatter_D > CONSTANT * squares_D) & (not constant), scatter_D, np.nan)
