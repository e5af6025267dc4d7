"""Metrics of a measured value as functions of sample weights.

Shape legend: D draws, N samples, J leave-outs (the whole sample stands first).
"""

import numpy as np

from visionfm.metrics.evidence import Evidence, LeftOut, Mean
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Values, ratio

# A sum of squares below this share of the raw one is rounding: the values drawn are all the same.
CONSTANT = 1e-12


class Regression:
    """A measured value: MAE and RMSE in its unit, R2, Pearson correlation."""

    def __init__(self, truth_N: Floats, value_N: Floats) -> None:
        """`truth_N` is NaN where unknown (masked)."""
        self.known_N = ~np.isnan(truth_N)
        truth, value = truth_N[self.known_N], value_N[self.known_N]
        self.constant_truth = len(truth) > 0 and bool(np.ptp(truth) == 0)
        self.constant_value = len(value) > 0 and bool(np.ptp(value) == 0)
        error = value - truth
        self.error_N = value_N - truth_N
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

    def left_out(self, weights_JN: Floats) -> Values:
        """Return the metrics that have no evidence but their values without each group of subjects."""
        return {key: values_J for key, values_J in self(weights_JN).items() if key[0] in ("r2", "pearson")}

    def evidence(self, left: Values, subjects: Subjects) -> dict[tuple[str, str | None], Evidence]:
        """Return what each metric's interval is computed from; `left` are all values of `left_out`."""
        found: dict[tuple[str, str | None], Evidence] = {
            ("mae", None): Mean(np.abs(self.error_N)),
            ("rmse", None): Mean(self.error_N**2),
        }
        return found | {key: LeftOut(values_J, {}, self.known_N) for key, values_J in left.items()}

    def why_undefined(self, metric: str, point: str | None = None) -> str | None:
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
