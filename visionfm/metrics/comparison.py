"""Is one model better than another: differences on the same subjects, their intervals and p values.

Invariant: interval and p value come from the same error, so that p < 0.05 exactly where the interval leaves 0 out. A
difference that has no error (two models that answer alike) has a reason and no p value.
Shape legend: N samples, S subjects, D draws (the sample's own value stands first), K comparisons.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from visionfm.metrics.bootstrap import FEWEST_SUBJECTS, MOST_UNDEFINED
from visionfm.metrics.evidence import Interval
from visionfm.metrics.intervals import NORMAL, t_quantile, welch
from visionfm.metrics.placements import clustered_variance, placements
from visionfm.metrics.weighted import Floats, Mask

EXACT_SUBJECTS = 12
ALIKE = "no comparison: no subject tells the two apart"


@dataclass(frozen=True)
class Difference:
    """First minus second, with its 95 % interval and two-sided p value, or the reason why there are none."""

    difference: float
    low: float | None
    high: float | None
    p: float | None
    method: str | None
    reason: str | None
    n_subjects: int


def _by_t(difference: float, variance: float, freedom: float, method: str, count: int) -> Difference:
    """Return interval and p value of Student's t."""
    if not variance > 0:
        return Difference(difference, None, None, None, None, ALIKE, count)
    error = float(np.sqrt(variance))
    reach = t_quantile(freedom) * error
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return Difference(difference, difference - reach, difference + reach, p, method, None, count)


def auroc(truth_N: Floats, first_N: Floats, second_N: Floats, subject_N: NDArray[Any]) -> Difference:
    """Compare two AUROCs of the same samples: DeLong's test (Biometrics 1988, 44:837) for clustered data.

    Obuchowski's covariance (Biometrics 1997, 53:567) is the variance of the difference of both models' placements;
    Student's t with the freedom of Welch and Satterthwaite from the subjects with and without the condition.
    `truth_N` is 0 or 1, NaN where unknown; scores are any numbers, higher for the condition.
    """
    subjects_S, place_N = np.unique(np.asarray(subject_N, dtype=np.str_), return_inverse=True)
    count = len(subjects_S)
    first, second = (placements(truth_N, score_N, place_N, count) for score_N in (first_N, second_N))
    known = len(np.unique(place_N[~np.isnan(truth_N)]))
    if isinstance(first, str) or isinstance(second, str):
        return Difference(float("nan"), None, None, None, None, f"no comparison: {first}", known)
    positive_S, negative_S = first.positive_S - second.positive_S, first.negative_S - second.negative_S
    variance = clustered_variance(positive_S, negative_S, first.with_condition, first.without_condition)
    freedom = min(welch(first.with_condition, first.without_condition), known - 1)
    return _by_t(first.value - second.value, variance, freedom, "DeLong, clustered, t", known)


def bootstrap(first_D: Floats, second_D: Floats, n_subjects: int) -> Difference:
    """Compare a metric of two models by a paired bootstrap over subjects.

    Both are values under the same weights, draw by draw; the sample's own values stand first. The draws give the error,
    widened by what few subjects hide, and Student's t the quantile: percentiles of few subjects lie too close.
    """
    difference_D = first_D - second_D
    drawn = difference_D[1:][~np.isnan(difference_D[1:])]
    if reason := _too_little(difference_D, len(drawn), n_subjects):
        return Difference(float(difference_D[0]), None, None, None, None, reason, n_subjects)
    variance = float(drawn.var(ddof=1)) * n_subjects / (n_subjects - 1)
    return _by_t(float(difference_D[0]), variance, n_subjects - 1, "paired bootstrap, t", n_subjects)


def jackknife(first_J: Floats, second_J: Floats, n_subjects: int) -> Difference:
    """Compare a metric of two models by its values under the weights of `jackknife.left_out`: no draws, no seed."""
    difference_J = first_J - second_J
    left_J = difference_J[1:][~np.isnan(difference_J[1:])]
    if reason := _too_little(difference_J, len(left_J), n_subjects):
        return Difference(float(difference_J[0]), None, None, None, None, reason, n_subjects)
    variance = float(((left_J - left_J.mean()) ** 2).sum()) * (len(left_J) - 1) / len(left_J)
    return _by_t(float(difference_J[0]), variance, len(left_J) - 1, "paired jackknife, t", n_subjects)


def _too_little(difference_D: Floats, defined: int, n_subjects: int) -> str | None:
    if np.isnan(difference_D[0]):
        return "no comparison: one of the two has no value"
    if n_subjects < FEWEST_SUBJECTS:
        return f"no comparison: fewer than five subjects: {n_subjects}"
    if defined < max(2, (1 - MOST_UNDEFINED) * (len(difference_D) - 1)):
        return "no comparison: the metric does not exist for many draws of the subjects"
    return None


def independent(first: Interval, second: Interval) -> Difference:
    """Compare one metric on two samples that share no subject (inside and outside, a group and the rest).

    The interval joins both own intervals (MOVER; Zou and Donner, Stat Med 2008, 27:1693). The p value is that of the
    largest confidence at which it leaves 0 out, on the normal scale.
    """
    difference = first.value - second.value
    for found in (first, second):
        if found.reason is not None:
            return Difference(difference, None, None, None, None, found.reason.replace("interval", "comparison"), 0)
    assert first.low is not None and first.high is not None and second.low is not None and second.high is not None
    below = float(np.hypot(first.value - first.low, second.high - second.value))
    above = float(np.hypot(first.high - first.value, second.value - second.low))
    towards_zero = below if difference > 0 else above
    p = 2 * float(special.ndtr(-NORMAL * abs(difference) / towards_zero))
    count = len(first.influence_S) + len(second.influence_S)
    return Difference(difference, difference - below, difference + above, p, "MOVER, independent", None, count)


def permutation(
    statistic: Callable[[Mask], float], subject_N: NDArray[Any], draws: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p value of exchanging the two models within subjects, under no assumption but exchange.

    `statistic(swapped_N)` is the difference where the models' answers to these samples are exchanged. Up to twelve
    subjects all exchanges are tried, which is exact; else `draws` of them (Phipson and Smyth 2010: never 0).
    """
    subjects_S, place_N = np.unique(np.asarray(subject_N, dtype=np.str_), return_inverse=True)
    count = len(subjects_S)
    observed = abs(statistic(np.zeros(len(place_N), bool)))
    reached = observed * (1 - 1e-12)  # equal but for rounding
    if count <= EXACT_SUBJECTS:
        every = [np.array(swapped, bool) for swapped in product((False, True), repeat=count)]
        return sum(abs(statistic(swapped_S[place_N])) >= reached for swapped_S in every) / len(every)
    drawn_DS = np.random.default_rng(seed).integers(0, 2, (draws, count)).astype(bool)
    return (1 + sum(abs(statistic(swapped_S[place_N])) >= reached for swapped_S in drawn_DS)) / (draws + 1)


def holm(p_K: Floats) -> Floats:
    """Return p values adjusted for the whole family (Holm, Scand J Stat 1979, 6:65); NaN stays and does not count."""
    adjusted_K = np.full(len(p_K), np.nan)
    known = np.flatnonzero(~np.isnan(p_K))
    order = known[np.argsort(p_K[known], kind="stable")]
    scaled = p_K[order] * np.arange(len(order), 0, -1)
    adjusted_K[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted_K
