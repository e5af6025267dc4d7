"""Is one model better than another, or one on others: differences, their intervals and p values.

Invariant: interval and p value come from the same error, so that p < 0.05 exactly where the interval leaves 0 out. A
difference that has no error (two models that answer alike) has a reason and no p value.
Shape legend: N samples, S subjects, R runs (seeds) of one model, whose mean counts, D draws (the sample's own value
stands first), K comparisons.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from visionfm.metrics.evidence import Interval
from visionfm.metrics.intervals import NORMAL, ROUNDING, t_quantile, welch
from visionfm.metrics.limits import FEWEST_SUBJECTS, MOST_UNDEFINED
from visionfm.metrics.placements import clustered_variance, placements
from visionfm.metrics.scales import Scale
from visionfm.metrics.subjects import Subjects
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
    if not variance > ROUNDING:
        return Difference(difference, None, None, None, None, ALIKE, count)
    error = float(np.sqrt(variance))
    reach = t_quantile(freedom) * error
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return Difference(difference, difference - reach, difference + reach, p, method, None, count)


def auroc(
    truth_N: Floats, first_N: Floats, second_N: Floats, subject_N: NDArray[Any] | Subjects, wider: float = 1.0
) -> Difference:
    """Compare two AUROCs of the same samples: DeLong's test (Biometrics 1988, 44:837) for clustered data.

    Obuchowski's covariance (Biometrics 1997, 53:567) is the variance of the difference of both models' placements;
    Student's t with the freedom of Welch and Satterthwaite from the subjects with and without the condition.
    `truth_N` is 0 or 1, NaN where unknown; scores are any numbers, higher for the condition. Scores of several runs
    (R, N) are compared by the mean of their AUROCs. `wider` multiplies the error: of folds, `intervals.wider_by`.
    """
    subjects = Subjects.of(subject_N)
    known = subjects.among(~np.isnan(truth_N))
    sides = []
    for score_RN in map(np.atleast_2d, (first_N, second_N)):
        found_R = [placements(truth_N, score_N, subjects.place_N, subjects.count) for score_N in score_RN]
        for found in found_R:
            if isinstance(found, str):
                return Difference(float("nan"), None, None, None, None, f"no comparison: {found}", known)
        sides.append([found for found in found_R if not isinstance(found, str)])
    first_R, second_R = sides
    value, positive_S, negative_S = (
        np.mean([getattr(one, name) for one in first_R], axis=0)
        - np.mean([getattr(one, name) for one in second_R], axis=0)
        for name in ("value", "positive_S", "negative_S")
    )
    persons = first_R[0].with_condition, first_R[0].without_condition
    variance = clustered_variance(positive_S, negative_S, *persons)
    freedom = min(welch(*persons), known - 1)
    return _by_t(float(value), variance * wider**2, freedom, "DeLong, clustered, t", known)


def paired(first_R: Sequence[Interval], second_R: Sequence[Interval], n_subjects: int) -> Difference:
    """Compare any metric of the same samples by how far each subject moves the difference of both values.

    The sum of its squares is the variance: the paired jackknife over subjects, linearised for shares and means.
    Student's t has the freedom with which that sum is known (Satterthwaite, Biometrics Bulletin 1946, 2:110; fewer
    where few subjects move much), less than the number of subjects that move at least one of the two (of a
    sensitivity: those with the condition). Several runs are compared by the mean of their values.
    """
    value_first, value_second = (float(np.mean([one.value for one in side])) for side in (first_R, second_R))
    difference = value_first - value_second
    for found in (*first_R, *second_R):
        if not len(found.influence_S):
            reason = (found.reason or "the metric has no value").replace("no interval: ", "")
            return Difference(difference, None, None, None, None, f"no comparison: {reason}", n_subjects)
    first_S, second_S = (np.mean([one.influence_S for one in side], axis=0) for side in (first_R, second_R))
    moving = int(np.count_nonzero((first_S != 0) | (second_S != 0)))
    if 0 < moving < FEWEST_SUBJECTS:
        reason = f"no comparison: fewer than five subjects tell how far values differ: {moving}"
        return Difference(difference, None, None, None, None, reason, n_subjects)
    square_S = (first_S - second_S) ** 2
    variance = float(square_S.sum())
    spread = float((square_S**2).sum()) - variance**2 / max(1, moving)  # the variance of that sum
    freedom = min(moving - 1, 2 * variance**2 / spread) if spread > 0 else moving - 1
    return _by_t(difference, variance, freedom, "paired over subjects, t", n_subjects)


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


def _too_little(difference_D: Floats, defined: int, n_subjects: int) -> str | None:
    if np.isnan(difference_D[0]):
        return "no comparison: one of the two has no value"
    if n_subjects < FEWEST_SUBJECTS:
        return f"no comparison: fewer than five subjects: {n_subjects}"
    if defined < max(2, (1 - MOST_UNDEFINED) * (len(difference_D) - 1)):
        return "no comparison: the metric does not exist for many draws of the subjects"
    return None


def unpaired(first: Interval, second: Interval, correlation: float = 0.0) -> Difference:
    """Compare one metric on two different samples: inside and outside, a group and the rest.

    The interval joins both own intervals (MOVER; Zou and Donner, Stat Med 2008, 27:1693). `correlation` of the two
    estimates is not 0 where some subjects are in both: a right eye and a left one. The p value is that of the largest
    confidence at which the interval leaves 0 out, on the normal scale.
    """
    difference = first.value - second.value
    count = len(first.influence_S) + len(second.influence_S)
    for found in (first, second):
        if found.reason is not None:
            return Difference(difference, None, None, None, None, found.reason.replace("interval", "comparison"), count)
    assert first.low is not None and first.high is not None and second.low is not None and second.high is not None
    below = _joined(first.value - first.low, second.high - second.value, correlation)
    above = _joined(first.high - first.value, second.value - second.low, correlation)
    towards_zero = below if difference > 0 else above
    if towards_zero**2 <= ROUNDING:
        return Difference(difference, None, None, None, None, ALIKE, count)
    p = 2 * float(special.ndtr(-NORMAL * abs(difference) / towards_zero))
    return Difference(difference, difference - below, difference + above, p, "MOVER", None, count)


def _joined(one: float, other: float, correlation: float) -> float:
    """Return the reach of a difference from that of both sides."""
    return float(np.sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other)))


class Interaction(NamedTuple):
    """Do groups differ more than by chance: the p value and the method, or the reason why there is none."""

    p: float | None
    method: str | None
    reason: str | None


def interaction(groups: Sequence[Interval], influence_GS: Floats, scale: Scale) -> Interaction:
    """Test whether one metric is the same in all groups: Welch's test (Biometrika 1951, 38:330) over subjects.

    Each group's value stands on the scale on which its interval is symmetric, with the variance and the freedom that
    its subjects show. `influence_GS`: how far each subject moves each group's value; subjects who are in several
    groups (two eyes) make their values correlate.
    """
    if len(groups) < 2:
        return Interaction(None, None, "no test: fewer than two groups have an interval")
    if any(one.value in (scale.lowest, scale.highest) for one in groups):
        return Interaction(None, None, "no test: one of the groups has the best or the worst possible value")
    value_G = np.array([scale.there(one.value) for one in groups])
    moved_GS = influence_GS * np.array([[scale.slope(one.value)] for one in groups])
    covariance_GG = moved_GS @ moved_GS.T
    variance_G = np.diag(covariance_GG)
    if not np.isfinite(value_G).all() or not np.isfinite(moved_GS).all() or (variance_G <= ROUNDING).any():
        return Interaction(None, None, "no test: in one of the groups all subjects are alike")
    freedom_G = np.array([_freedom(row_S) for row_S in moved_GS])
    contrast_HG = np.column_stack([-np.ones(len(groups) - 1), np.eye(len(groups) - 1)])
    apart_H = contrast_HG @ value_G
    spread_HH = contrast_HG @ covariance_GG @ contrast_HG.T
    if np.linalg.matrix_rank(spread_HH) < len(apart_H):
        return Interaction(None, None, ALIKE.replace("comparison", "test"))
    count, weight_G = len(groups), 1 / variance_G
    unsure = float(((1 - weight_G / weight_G.sum()) ** 2 / freedom_G).sum())
    square = float(apart_H @ np.linalg.solve(spread_HH, apart_H)) / (count - 1)
    square /= 1 + 2 * (count - 2) * unsure / (count**2 - 1)
    p = float(special.fdtrc(count - 1, (count**2 - 1) / (3 * unsure), square))
    return Interaction(p, f"Welch over subjects, {count} groups", None)


def _freedom(influence_S: Floats) -> float:
    """Return the degrees of freedom with which the sum of squares is known (Satterthwaite)."""
    square_S = influence_S[influence_S != 0] ** 2
    variance, moving = float(square_S.sum()), len(square_S)
    spread = float((square_S**2).sum()) - variance**2 / max(1, moving)
    return max(1.0, min(moving - 1, 2 * variance**2 / spread) if spread > 0 else moving - 1)


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
