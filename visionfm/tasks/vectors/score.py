"""All metrics of one part of the samples, each with its bootstrap draws: by class, over classes (macro), of the whole.

Invariant: a metric without a value has a reason; classes left out of a macro mean are counted in its reason.
Shape legend: D draws (the sample's own value stands first), N samples, K classes or columns, C classes, S subjects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.binary import AT_THRESHOLD, Binary, youden_threshold
from visionfm.metrics.bootstrap import subject_draws
from visionfm.metrics.multiclass import Multiclass
from visionfm.metrics.regression import Regression
from visionfm.metrics.survival import AtTime, Whole
from visionfm.metrics.weighted import Floats, Mask
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.target_types import type_of

Threshold = float | str  # a number, or why there is none
HALF, VALIDATION = "0.5", "validation"
Scorers = Callable[[TargetSpec, Floats, Floats, Sequence[Threshold]], Mapping[str | None, Any]]


@dataclass(frozen=True)
class Line:
    """One metric of a class, of `macro` or (label None) of the whole; `reason`: why no value, or what is left out."""

    label: str | None
    metric: str
    point: str | None
    values_D: Floats
    n: int
    n_positive: int | None
    subjects_S: NDArray[np.object_]
    threshold: float | None = None
    reason: str | None = None
    bounds: tuple[float, float] | None = None  # the interval, where it is not that of the draws


def thresholds(target: TargetSpec, truth_NK: Floats, score_NK: Floats) -> list[Threshold]:
    """Return the threshold of each yes-or-no question of the target, chosen on these validation samples."""
    if target.type not in ("binary", "multilabel"):
        return []
    return [youden_threshold(truth_NK[:, k], score_NK[:, k]) for k in range(truth_NK.shape[1])]


def score(
    target: TargetSpec,
    truth_NK: Floats,
    score_NK: Floats,
    subject_N: NDArray[np.object_],
    chosen_K: Sequence[Threshold],
    draws: int,
    seed: int,
    scorers_of: Scorers | None = None,
) -> list[Line]:
    """Return all metrics of these samples.

    Binary and multilabel questions are called at 0.5 and at `chosen_K`; the classes of a multiclass target, one against
    the rest, by the most probable class, which is no operating point. A kind may ask otherwise (`scorers_of`). Samples
    in which nothing is known are left out.
    """
    known_N = ~np.isnan(truth_NK).all(axis=1)
    truth_NK, score_NK, subject_N = truth_NK[known_N], score_NK[known_N], subject_N[known_N]
    by_label = (scorers_of or scorers)(target, truth_NK, score_NK, chosen_K)
    values: dict[tuple[str | None, str, str | None], list[Floats]] = {}
    present: dict[str | None, list[Mask]] = {}
    for weights_DN in subject_draws(subject_N.tolist(), draws, seed):
        for label, scorer in by_label.items():
            for (metric, point), values_D in scorer(weights_DN).items():
                values.setdefault((label, metric, point), []).append(values_D)
            if isinstance(scorer, Binary):
                present.setdefault(label, []).append(scorer.present(weights_DN))
    at: dict[str | None, Mapping[str, Threshold]] = {
        label: {HALF: 0.5, VALIDATION: chosen} for label, chosen in zip(by_label, chosen_K, strict=False)
    }
    lines = [
        _line(label, by_label[label], metric, point, np.concatenate(chunks), subject_N, at.get(label, {}))
        for (label, metric, point), chunks in values.items()
    ]
    if type_of(target.type, target.form).over_classes:
        lines += _macro(lines, {label: np.concatenate(chunks) for label, chunks in present.items()}, subject_N)
    return lines


def scorers(
    target: TargetSpec, truth_NK: Floats, score_NK: Floats, chosen_K: Sequence[Threshold]
) -> dict[str | None, Any]:
    """Return label -> what measures these samples; those that `chosen_K` is of come first."""
    if target.type == "value":
        return {None: Regression(truth_NK[:, 0], score_NK[:, 0])}
    if target.type == "event":
        return _survival(target, truth_NK, score_NK)
    if target.type == "multiclass":
        truth_N, called_N = truth_NK[:, 0], score_NK.argmax(axis=1)
        found: dict[str | None, Any] = {}
        for k, label in enumerate(target.classes):
            truth_k_N = np.where(np.isnan(truth_N), np.nan, truth_N == k)
            found[label] = Binary(truth_k_N, score_NK[:, k], {None: called_N == k})
        return found | {None: Multiclass(truth_N, called_N, len(target.classes), target.ordered)}
    labels: Sequence[str | None] = target.classes if target.type == "multilabel" else [None]
    return {
        label: Binary(
            truth_NK[:, k],
            score_NK[:, k],
            {HALF: score_NK[:, k] >= 0.5, VALIDATION: None if isinstance(at, str) else score_NK[:, k] >= at},
        )
        for k, (label, at) in enumerate(zip(labels, chosen_K, strict=True))
    }


def _survival(target: TargetSpec, truth_NK: Floats, score_NK: Floats) -> dict[str | None, Any]:
    """Return the scorers of (event, days) against (risk, probability by the end of each interval)."""
    event_N, days_N = truth_NK.T
    times_K = np.array(target.intervals)
    found: dict[str | None, Any] = {None: Whole(event_N, days_N, score_NK[:, 0], score_NK[:, 1:], times_K)}
    for days in target.horizons:
        risk_by_N = score_NK[:, 1 + target.intervals.index(days)]
        found[f"{days:g} days"] = AtTime(event_N, days_N, risk_by_N, days)
    return found


def _line(
    label: str | None,
    scorer: Any,
    metric: str,
    point: str | None,
    values_D: Floats,
    subject_N: NDArray[np.object_],
    at: Mapping[str, Threshold],
) -> Line:
    threshold = at.get(point) if point is not None else None
    reason = scorer.why_undefined(metric) if np.isnan(values_D[0]) else None
    if np.isnan(values_D[0]) and reason is None:
        reason = threshold if isinstance(threshold, str) else "it is not defined for these samples"
    if reason is None and isinstance(scorer, Whole):
        reason = scorer.note(metric)
    return Line(
        label,
        metric,
        point,
        values_D,
        n=int(scorer.known_N.sum()),
        n_positive=int(scorer.positive_N.sum()) if isinstance(scorer, Binary | Whole | AtTime) else None,
        subjects_S=np.unique(subject_N[scorer.known_N]),
        threshold=None if isinstance(threshold, str) else threshold,
        reason=reason,
    )


def _macro(lines: Sequence[Line], present: Mapping[str | None, Mask], subject_N: NDArray[np.object_]) -> list[Line]:
    """Return plain means over classes; absent ones and those without a value are left out, in each draw as well."""
    found = []
    by_class = [line for line in lines if line.label is not None]
    for metric, point in dict.fromkeys((line.metric, line.point) for line in by_class):
        members = [line for line in by_class if (line.metric, line.point) == (metric, point)]
        values_CD = np.stack([np.where(present[line.label], line.values_D, np.nan) for line in members])
        kept_C = ~np.isnan(values_CD[:, 0])
        defined_CD = ~np.isnan(values_CD) & kept_C[:, None]
        total_D, count_D = np.where(defined_CD, values_CD, 0).sum(axis=0), defined_CD.sum(axis=0)
        left_out = [line for line, kept in zip(members, kept_C, strict=True) if not kept]
        absent = "no positive case among {} known"  # has a Brier score and a specificity, but would flatter the mean
        names = ", ".join(f"{line.label} ({line.reason or absent.format(line.n)})" for line in left_out)
        found.append(
            Line(
                "macro",
                metric,
                point,
                np.where(count_D > 0, total_D / np.maximum(count_D, 1), np.nan),
                n=len(subject_N),
                n_positive=None,
                subjects_S=np.unique(subject_N),
                threshold=0.5 if point == HALF and metric in AT_THRESHOLD else None,
                reason=f"{len(left_out)} of {len(members)} classes left out: {names}" if left_out else None,
            )
        )
    return found
