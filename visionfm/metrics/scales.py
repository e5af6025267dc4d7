"""The scales on which intervals are symmetric: without bounds, so that no limit is impossible."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from visionfm.metrics.catalogue import METRICS


class Scale(NamedTuple):
    """Where a metric lies, and a scale without bounds on which its errors are more even.

    `skewed`: limits of the value itself, corrected for skewness, count as well.
    """

    lowest: float
    highest: float
    name: str
    there: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float]  # of `there`
    skewed: bool


SHARE = Scale(0.0, 1.0, "logit", special.logit, special.expit, lambda x: 1 / (x * (1 - x)), skewed=True)
ERROR = Scale(0.0, np.inf, "log", np.log, np.exp, lambda x: 1 / x, skewed=True)
CORRELATION = Scale(-1.0, 1.0, "Fisher z", np.arctanh, np.tanh, lambda x: 1 / (1 - x**2), skewed=False)
EXPLAINED = Scale(
    -np.inf, 1.0, "log(1 - x)", lambda x: -np.log(1 - x), lambda u: 1 - np.exp(-u), lambda x: 1 / (1 - x), skewed=False
)
QUARTER = Scale(
    0.0, 0.25, "logit", lambda x: special.logit(4 * x), lambda u: special.expit(u) / 4, lambda x: 1 / (x * (1 - 4 * x)),
    skewed=True,
)  # fmt: skip
PLAIN = Scale(-np.inf, np.inf, "untransformed", lambda x: x, lambda u: u, lambda x: 1.0, skewed=False)
DIFFERENCE = Scale(-1.0, 1.0, "untransformed", lambda x: x, lambda u: u, lambda x: 1.0, skewed=True)
SCALES = {
    "calibration_slope": PLAIN, "calibration_intercept": PLAIN, "calibration_in_the_large": DIFFERENCE,
    "brier_prevalence": QUARTER, "quadratic_kappa": CORRELATION, "pearson": CORRELATION, "r2": EXPLAINED,
}  # fmt: skip


def scale_of(metric: str) -> Scale:
    """Return where a metric lies: correlations, R2, errors in their own unit (in the catalogue), else shares of 1."""
    if metric in SCALES:
        return SCALES[metric]
    return ERROR if metric in METRICS and not METRICS[metric].bounded else SHARE
