"""95 % intervals of all metrics, for people with several eyes and images: `interval` chooses the method by metric.

Invariant: the subject is the unit. What fewer than five subjects could show has no interval but a reason, and no
interval has zero width: where all are alike, an exact limit stands or none. Coverage is measured in bench/coverage.py.

Methods:
- AUROC: Obuchowski's variance for clustered data (Biometrics 1997, 53:567), limits on the logit scale, Student's t.
- Proportions and F1: Wilson's interval with the effective sample size of the clusters (Korn and Graubard, Survey
  Methodology 1998, 24:193); Clopper and Pearson's over subjects where all or none are right.
- Means over images: Student's t on the linearised variance between subjects (Cochran, Sampling Techniques, 3rd ed.,
  eq. 11.12), corrected for skewness (Hall, JRSS B 1992, 54:221); also limits on the log or logit scale, the wider side
  of both counts, for each misses the long tail in another way.
- Others: the same with the jackknife over subjects (Efron and Stein, Ann Stat 1981, 9:586). It covers where BCa does
  not (bench/RESULTS.md), and needs no draws.
- Means of metrics (macro, balanced accuracy, several seeds): MOVER, which joins the members' own limits (Zou and
  Donner, Stat Med 2008, 27:1693), with the correlation that the subjects show.
- All folds' answers together: every side wider by `OUT_OF_FOLD`, for they depend on each other (Bates, Hastie and
  Tibshirani, JASA 2024, 119:1434).
- Means over folds: the limits of all folds' samples together, moved to the mean. MOVER of the folds' own limits covers
  less where a fold has no miss, and exists in few data sets (bench/folds.py).
- Likelihood ratios: MOVER for ratios (Newcombe, Stat Methods Med Res 2016, 25:1774) of sensitivity and specificity.
- Calibration: in calibration.py.

Shape legend: N samples, S subjects, J leave-outs (the whole sample stands first), G groups of subjects.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from visionfm.metrics.evidence import (
    NOTHING,
    Evidence,
    Interval,
    LeftOut,
    Mean,
    Members,
    OverFolds,
    Ranking,
    Ratio,
    Ready,
    Share,
)
from visionfm.metrics.limits import FEWEST_SUBJECTS, LEVEL
from visionfm.metrics.placements import placements
from visionfm.metrics.scales import SHARE, Scale, scale_of
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Mask

# A few values of a long tail show less skewness than it has: so much more is taken out. Chosen in bench/coverage.py.
UNSEEN_SKEWNESS = 1.15
# Hall's transformation is an expansion for moderate skewness: one subject that decides everything would give limits
# many errors away. It widens a side by so much at most. Chosen in bench/coverage.py.
MOST_WIDENED = 2.5
# Answers of several folds depend on each other: a person is tested by one decoder and trains the others. Squared errors
# are larger by this over the number of people. Chosen in bench/folds.py.
OUT_OF_FOLD = 16.0

TAIL = (1 - LEVEL) / 2
NORMAL = float(special.ndtri(1 - TAIL))
ROUNDING = 1e-24  # a variance below this is none
ALIKE = "all subjects are alike, which says nothing of how far others differ"
WHOSE = {
    "sensitivity": "with the condition",
    "specificity": "without the condition",
    "ppv": "called positive",
    "npv": "called negative",
}


# --- the one function -------------------------------------------------------------------------------------------------


def interval(metric: str, evidence: Evidence, subject_N: NDArray[Any] | Subjects) -> Interval:
    """Return the 95 % interval of a metric by the method that suits it, or the reason why there is none.

    `subject_N` are the ids of all samples of the evidence; who is one person has one id.
    """
    subjects = Subjects.of(subject_N)
    match evidence:
        case Ranking():
            return _auroc(evidence, subjects)
        case Share():
            found = _share(evidence, WHOSE.get(metric, "with a known answer"), subjects)
            return _of_jaccard(found) if metric == "f1" else found
        case Mean():
            return _mean(metric, evidence.value_N, subjects)
        case LeftOut():
            return _jackknife(metric, evidence, subjects)
        case Members():
            return _mean_of(evidence.members, scale_of(metric))
        case OverFolds():
            return _over_folds(evidence, scale_of(metric))
        case Ratio():
            return _ratio(evidence.above, evidence.below, scale_of(metric))
        case Ready():
            return evidence.interval


def no_interval(reason: str, value: float = float("nan"), influence_S: Floats = NOTHING) -> Interval:
    """Return the value without an interval, and why."""
    return Interval(None, None, None, f"no interval: {reason}", value, influence_S)


def few_subjects(name: str, found: int) -> str:
    """Return the reason of too few subjects; `name` says of which kind."""
    return f"fewer than five subjects {name}: {found}"


def _given(
    low: float, high: float, method: str, scale: Scale, value: float = float("nan"), influence_S: Floats = NOTHING
) -> Interval:
    """Return the limits, cut to what is possible; none where they say nothing or claim certainty."""
    low, high = max(scale.lowest, min(low, value)), min(scale.highest, max(high, value))
    if not low < high:
        return no_interval(ALIKE, value, influence_S)
    return Interval(float(low), float(high), method, None, value, influence_S)


def welch(first: int, second: int) -> float:
    """Return the degrees of freedom of a difference of two groups of so many subjects that vary alike."""
    return (1 / first + 1 / second) ** 2 / (1 / first**2 / (first - 1) + 1 / second**2 / (second - 1))


def t_quantile(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t."""
    return float(special.stdtrit(freedom, 1 - TAIL))


# --- AUROC ------------------------------------------------------------------------------------------------------------


def _auroc(evidence: Ranking, subjects: Subjects) -> Interval:
    found = placements(evidence.truth_N, evidence.score_N, subjects.place_N, subjects.count)
    if isinstance(found, str):
        return no_interval(found)
    variance, value = found.variance(), found.value
    fewer = min(found.with_condition, found.without_condition)
    widened = [np.sqrt(persons / (persons - 1)) for persons in (found.with_condition, found.without_condition)]
    influence_S = widened[0] * found.positive_S + widened[1] * found.negative_S
    if value in (0, 1):  # no pair is (or all are) in the wrong order: as if each of the rarer subjects were one trial
        low, high = clopper_pearson(fewer * value, fewer)
        return _given(low, high, "Clopper-Pearson over subjects", SHARE, value, influence_S)
    if variance < ROUNDING:
        return no_interval(ALIKE, value)
    reach = t_quantile(fewer - 1) * np.sqrt(variance) * SHARE.slope(value)
    place = SHARE.there(value)
    return _given(
        SHARE.back(place - reach), SHARE.back(place + reach), "Obuchowski, logit, t", SHARE, value, influence_S
    )


# --- proportions ------------------------------------------------------------------------------------------------------


def clopper_pearson(hits: float, count: float) -> tuple[float, float]:
    """Return the exact limits of a proportion (Biometrika 1934, 26:404); the counts may be fractions."""
    low = float(special.betaincinv(hits, count - hits + 1, TAIL)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, count - hits, 1 - TAIL)) if hits < count else 1.0
    return low, high


def wilson(share: float, count: float, quantile: float = NORMAL) -> tuple[float, float]:
    """Return Wilson's limits (JASA 1927, 22:209); `count` may be an effective number."""
    square = quantile**2 / count
    middle = (share + square / 2) / (1 + square)
    reach = float(np.sqrt(square * share * (1 - share) + square**2 / 4)) / (1 + square)
    return middle - reach, middle + reach


def _share(evidence: Share, whose: str, subjects: Subjects) -> Interval:
    of_S = np.bincount(subjects.place_N[evidence.of_N], minlength=subjects.count).astype(np.float64)
    hit_S = np.bincount(subjects.place_N[evidence.hit_N & evidence.of_N], minlength=subjects.count).astype(np.float64)
    clusters, total = int((of_S > 0).sum()), float(of_S.sum())
    value = float(hit_S.sum() / total) if total else float("nan")
    for name, found in ((whose, clusters), *_persons(evidence.needs, subjects)):
        if found < FEWEST_SUBJECTS:
            return no_interval(few_subjects(name, found), value)
    influence_S = (hit_S - value * of_S) / total * np.sqrt(clusters / (clusters - 1))
    if value in (0, 1):
        low, high = clopper_pearson(clusters * value, clusters)
        return _given(low, high, "Clopper-Pearson over subjects", SHARE, value, influence_S)
    variance = float(influence_S @ influence_S)
    effective = min(total, value * (1 - value) / variance) if variance > 0 else total
    # A single image needs no estimate of how alike a person's images are: t in as far as persons have several.
    several = float(of_S[of_S > 1].sum() / total)
    low, high = wilson(value, effective, (1 - several) * NORMAL + several * t_quantile(clusters - 1))
    return _given(low, high, "Wilson, effective sample size, t", SHARE, value, influence_S)


def _of_jaccard(found: Interval) -> Interval:
    """Return the interval of F1 from that of the share of true calls in all that is positive or called so."""
    value = 2 * found.value / (1 + found.value)
    if found.low is None or found.high is None:
        return Interval(None, None, None, found.reason, value)
    low, high = (2 * limit / (1 + limit) for limit in (found.low, found.high))
    return Interval(low, high, found.method, None, value, found.influence_S * 2 / (1 + found.value) ** 2)


def _persons(needs: Mapping[str, Mask], subjects: Subjects) -> Iterator[tuple[str, int]]:
    for name, mask_N in needs.items():
        yield name, subjects.among(mask_N)


# --- means over images ------------------------------------------------------------------------------------------------


def _mean(metric: str, value_N: Floats, subjects: Subjects) -> Interval:
    known_N = ~np.isnan(value_N)
    known, persons = value_N[known_N], subjects.among(known_N)
    value = float(known.mean()) if len(known) else float("nan")
    if persons < FEWEST_SUBJECTS:
        return no_interval(few_subjects("with a known value", persons), value)
    scale = scale_of(metric)
    if scale is SHARE and ((known == 0) | (known == 1)).all():
        return _share(Share(np.nan_to_num(value_N) == 1, known_N), "with a known value", subjects)
    influence_S = np.bincount(subjects.place_N[known_N], known - value, subjects.count) / len(known)
    influence_S *= np.sqrt(persons / (persons - 1))
    found = by_influence(value, influence_S, persons, persons - 1, "t over subjects", scale)
    return _root(found) if metric == "rmse" else found


def _root(found: Interval) -> Interval:
    """Return the interval of RMSE from that of the mean squared error."""
    value = float(np.sqrt(found.value))
    if found.low is None or found.high is None:
        return Interval(None, None, None, found.reason, value)
    low, high = float(np.sqrt(found.low)), float(np.sqrt(found.high))
    return Interval(low, high, found.method, None, value, found.influence_S / (2 * value))


def by_influence(value: float, influence_S: Floats, count: int, freedom: float, method: str, scale: Scale) -> Interval:
    """Return the limits on the scale from the influences of `count` subjects; Hall's, where they are wider."""
    if not scale.lowest <= value <= scale.highest:
        raise ValueError(f"a value of {value} cannot be: expected {scale.lowest} to {scale.highest}; name its scale")
    error = float(np.sqrt(influence_S @ influence_S))
    if error**2 <= ROUNDING * max(1.0, value**2):
        return no_interval(ALIKE, value)
    if value in (scale.lowest, scale.highest):
        return no_interval("the value is the best or the worst possible, so that its spread cannot be seen", value)
    quantile = t_quantile(freedom)
    place, reach = scale.there(value), quantile * error * scale.slope(value)
    low, high, method = scale.back(place - reach), scale.back(place + reach), f"{method}, {scale.name}"
    if scale.skewed:
        # The third moment in units of the second, with Fisher's correction for few subjects.
        third = float((influence_S**3).sum() / error**3)
        skewness = UNSEEN_SKEWNESS * third * count * np.sqrt(count - 1) / (count - 2)
        low = min(low, value - error * _unskewed(quantile, skewness, count))
        high = max(high, value - error * _unskewed(-quantile, skewness, count))
        method += " and skewness"
    return _given(low, high, method, scale, value, influence_S)


def _unskewed(quantile: float, skewness: float, count: int) -> float:
    """Return the inverse of Hall's cubic transformation of a studentised mean, which takes its skewness out."""
    third, sixth = skewness / (3 * np.sqrt(count)), skewness / (6 * np.sqrt(count))
    if abs(third) < 1e-9:
        return quantile
    found = float((np.cbrt(1 + 3 * third * (quantile - sixth)) - 1) / third)
    most = MOST_WIDENED * abs(quantile)
    return max(-most, min(found, most))


# --- any other metric -------------------------------------------------------------------------------------------------


def _jackknife(metric: str, evidence: LeftOut, subjects: Subjects) -> Interval:
    value, left_J = float(evidence.values_J[0]), evidence.values_J[1:]
    if np.isnan(value):
        return no_interval("the metric does not exist")
    count = subjects.count if evidence.known_N is None else subjects.among(evidence.known_N)
    persons = {"with a known answer": count, **dict(_persons(evidence.needs, subjects))}
    for name, found in persons.items():
        if found < FEWEST_SUBJECTS:
            return no_interval(few_subjects(name, found), value)
    if np.isnan(left_J).any():
        return no_interval("the metric does not exist without some of the subjects", value)
    groups = len(left_J)
    influence_G = np.sqrt((groups - 1) / groups) * (left_J.mean() - left_J)
    parts = [persons[name] for name in evidence.needs]
    freedom = min(welch(*parts) if len(parts) == 2 else min([*parts, count]) - 1, groups - 1)
    return by_influence(value, influence_G, groups, freedom, "jackknife over subjects, t", scale_of(metric))


# --- means and ratios of metrics --------------------------------------------------------------------------------------


def _mean_of(members: Mapping[str, Interval], scale: Scale) -> Interval:
    without: dict[str, list[str]] = defaultdict(list)
    for name, found in members.items():
        if found.reason is not None:
            without[found.reason.removeprefix("no interval: ")].append(name)
    values = np.array([found.value for found in members.values()])
    value = float(values.mean()) if len(values) else float("nan")
    if without or not members:
        reasons = [f"{', '.join(names)} ({reason})" for reason, names in without.items()]
        return no_interval(", ".join(reasons) or "no member has a value", value)
    low_K, high_K = (np.array([getattr(found, side) for found in members.values()]) for side in ("low", "high"))
    influence_KS = np.stack([found.influence_S for found in members.values()])
    covariance_KK = influence_KS @ influence_KS.T
    error_K = np.sqrt(np.diag(covariance_KK))
    scale_KK = np.outer(error_K, error_K)
    correlation_KK = np.divide(covariance_KK, scale_KK, out=np.eye(len(values)), where=scale_KK > 0)
    np.fill_diagonal(correlation_KK, 1.0)
    below_K, above_K = values - low_K, high_K - values
    low = value - float(np.sqrt(max(0.0, below_K @ correlation_KK @ below_K))) / len(values)
    high = value + float(np.sqrt(max(0.0, above_K @ correlation_KK @ above_K))) / len(values)
    return _given(low, high, "MOVER of the members' limits", scale, value, influence_KS.mean(axis=0))


def wider_by(people: int) -> float:
    """Return by how much errors are larger of answers of several folds, which were trained on so many people."""
    return float(np.sqrt(1 + OUT_OF_FOLD / people))


def out_of_fold(found: Interval, people: int, metric: str) -> Interval:
    """Return the interval of answers of several folds' decoders, which together were trained on so many people."""
    if found.low is None or found.high is None:
        return found
    wider, value = wider_by(people), found.value
    low, high = value - wider * (value - found.low), value + wider * (found.high - value)
    return _given(low, high, f"{found.method}, folds", scale_of(metric), value, wider * found.influence_S)


def _over_folds(evidence: OverFolds, scale: Scale) -> Interval:
    """Return the limits of all samples together, moved by as much as the mean of the folds differs from them."""
    together, value = evidence.together, evidence.value
    if together.low is None or together.high is None:
        return no_interval((together.reason or "").removeprefix("no interval: "), value)
    by = value - together.value
    return _given(together.low + by, together.high + by, f"{together.method}, moved", scale, value)


def _ratio(above: Interval, below: Interval, scale: Scale) -> Interval:
    """Return the interval of a ratio of two shares of different samples; taking them as independent errs to the wide.

    Of two eyes of one person, one with the condition and one without, both shares tend to move together.
    """
    value = above.value / below.value
    for found in (above, below):
        if found.low is None:
            return no_interval((found.reason or "").removeprefix("no interval: "), value)
    assert above.low is not None and above.high is not None and below.low is not None and below.high is not None
    product = above.value * below.value
    least, most = (limit * (2 * above.value - limit) for limit in (above.low, above.high))
    under, over = (limit * (2 * below.value - limit) for limit in (below.low, below.high))
    if under < ROUNDING:
        return no_interval("the ratio has no upper limit", value)
    low = least / (product + np.sqrt(max(0.0, product**2 - least * over))) if least > 0 else 0.0
    high = (product + np.sqrt(max(0.0, product**2 - most * under))) / under
    influence_S = above.influence_S / below.value - above.value * below.influence_S / below.value**2
    return _given(low, high, "MOVER for ratios", scale, value, influence_S)
