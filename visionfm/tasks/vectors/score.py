"""All metrics of one part of the samples: by class, over classes (macro), of the whole.

Invariant: a metric without a value has a reason; classes left out of a macro mean are counted in its reason.
Shape legend: N samples, K classes or columns, J leave-outs (the whole sample stands first).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.binary import AT_THRESHOLD, HALF, Binary, Threshold, operating_points
from visionfm.metrics.calibration import BEFORE, calibration
from visionfm.metrics.decisions import CONFORMAL, conformal, conformal_limit, conformal_sets
from visionfm.metrics.evidence import Members, Ready
from visionfm.metrics.jackknife import groups_of_samples, left_out
from visionfm.metrics.measure import Measure
from visionfm.metrics.multiclass import Multiclass
from visionfm.metrics.regression import Regression
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.survival import AtTime, Whole
from visionfm.metrics.weighted import Floats, Mask, Values
from visionfm.tasks.prediction_arrays import ALL, Answers, read_runs
from visionfm.tasks.scored import Scored
from visionfm.tasks.settings import EvaluateSettings, TargetSpec
from visionfm.tasks.target_types import type_of

Points = Mapping[str, Threshold]  # the operating points of one question: name -> threshold, or why there is none
Wanted = Mapping[str, tuple[str, float]]  # name -> sensitivity or specificity, and the least that it shall be
Scorers = Callable[[TargetSpec, Floats, Floats, Sequence[Points]], Mapping[str | None, Any]]
NO_MACRO = (  # a mean of ratios says nothing; of what should be 0 or 1, too large and too small cancel
    "likelihood_ratio_positive", "likelihood_ratio_negative",
    "calibration_slope", "calibration_intercept", "calibration_in_the_large", "ece_plain", "ece_by_chance",
)  # fmt: skip


def read(paths: list[Path], settings: EvaluateSettings, scoring: str) -> dict[str, dict[str, Scored]]:
    """Return run -> target -> what it answered; `scoring` is the module of a kind's `thresholds` and `scorers`."""
    return scored(read_runs(paths, settings), settings, scoring)


def scored(
    runs: Mapping[str, Mapping[str, Answers]], settings: EvaluateSettings, scoring: str
) -> dict[str, dict[str, Scored]]:
    """Return the same from answers in memory."""
    asks = import_module(scoring)

    @cache
    def chosen(name: str, run: str, subset: str) -> list[Points]:
        """Return the thresholds of a decoder: all its validation samples with this subset, for every dataset."""
        answers = runs[run][name]
        samples = answers.samples
        validation_N = (samples.split_N == "validation") & (samples.subset_N == subset)
        truth_NK, score_NK = answers.truth_NK[validation_N], answers.score_NK[validation_N]
        found: list[Points] = asks.thresholds(settings.targets[name], truth_NK, score_NK, settings.operating_points)
        return found

    def of_target(name: str, of: Answers) -> Scored:
        measured = partial(_of_rows, settings.targets[name], of, asks.scorers, settings, partial(chosen, name))
        return Scored(of.samples, of.truth_NK, _known(of), measured)

    return {run: {name: of_target(name, of) for name, of in answers.items()} for run, answers in runs.items()}


def _known(answers: Answers) -> Mask:
    return np.asarray(~np.isnan(answers.truth_NK).all(axis=1))


def _of_rows(
    target: TargetSpec,
    answers: Answers,
    scorers_of: Scorers,
    settings: EvaluateSettings,
    chosen: Callable[[str, str], list[Points]],
    rows_N: NDArray[np.intp],
) -> list[Measure]:
    """Return the measures of these samples; `chosen` gives the thresholds of a decoder and a subset of modalities."""
    samples = answers.samples
    subset = samples.subset_N[rows_N[0]] if len(rows_N) else ALL
    rows_N = rows_N[_known(answers)[rows_N]]  # somebody of whom nothing is known is nobody
    run_N = answers.run_N[rows_N]
    points = {run: chosen(run, subset) for run in dict.fromkeys(run_N if len(rows_N) else answers.run_N)}
    subjects, truth_NK = samples.subjects.take(rows_N), answers.truth_NK[rows_N]
    chosen_K = next(iter(points.values())) if len(points) == 1 else _by_run(points, run_N)
    found = measures(target, truth_NK, answers.score_NK[rows_N], subjects, chosen_K, scorers_of)
    if answers.before_NK is not None:
        by_label = scorers_of(target, truth_NK, answers.before_NK[rows_N], chosen_K)
        found += [measure for label, one in by_label.items() for measure in _before(label, one, subjects)]
    if settings.conformal is not None:
        found += sets(target, answers, rows_N, settings.conformal)
    return found


def sets(target: TargetSpec, answers: Answers, rows_N: NDArray[np.intp], level: float) -> Iterator[Measure]:
    """Yield what the conformal sets of these samples are worth; their limit is chosen on validation.

    Of a yes or no the set may hold both; each class of a multilabel target is a yes or no.
    """
    samples = answers.samples
    subset = samples.subset_N[rows_N[0]] if len(rows_N) else ALL
    chosen_N = np.flatnonzero((samples.split_N == "validation") & (samples.subset_N == subset))
    point = f"conformal {level:g}"
    for k, label in enumerate(target.classes if target.type == "multilabel" else [None]):
        truth_N = answers.truth_NK[:, k]
        score_NC = answers.score_NK
        if target.type != "multiclass":
            score_NC = np.stack([1 - answers.score_NK[:, k], answers.score_NK[:, k]], axis=1)
        known, on = (rows[~np.isnan(truth_N[rows])] for rows in (chosen_N, rows_N))
        subjects = samples.subjects.take(rows_N)
        if not len(known) or not len(on):
            where = "validation" if not len(known) else "test"
            reason = f"no {where} sample with a known answer"
            if len(on) and len(set(answers.run_N)) > 1:
                reason = "each fold's decoder has its own limit: foldmean is the mean of what their sets are worth"
            for metric in CONFORMAL:
                yield Measure(label, metric, point, np.nan, None, subjects, ~np.isnan(truth_N[rows_N]), reason=reason)
            continue
        whole_N = truth_N[known].astype(np.intp), score_NC[known], samples.subjects.take(known)
        limit = conformal_limit(*whole_N, level)
        class_N, of_known = truth_N[on].astype(np.intp), ~np.isnan(truth_N[rows_N])
        persons = Subjects(subjects.place_N[of_known], subjects.count)
        for metric, found in conformal(conformal_sets(score_NC[on], limit), class_N, persons).items():
            yield Measure(
                label, metric, point, found.value, Ready(found), subjects, of_known,
                threshold=None if np.isinf(limit) else limit,
                reason="so few validation subjects promise nothing less than all classes" if np.isinf(limit) else None,
            )  # fmt: skip


def _by_run(points: Mapping[str, list[Points]], run_N: NDArray[np.object_]) -> list[Points]:
    """Return the operating points of samples that several decoders answered: each sample has its decoder's threshold.

    A point that one of them lacks, nobody has.
    """
    found: list[Points] = []
    for of_question in zip(*points.values(), strict=True):
        joined: dict[str, Threshold] = {}
        for name in of_question[0]:
            by_run = {run: of_run[name] for run, of_run in zip(points, of_question, strict=True)}
            without = [f"{run}: {at}" for run, at in by_run.items() if isinstance(at, str)]
            if without:
                joined[name] = "; ".join(without)
            elif len(set(by_run.values())) == 1:
                joined[name] = of_question[0][name]
            else:
                joined[name] = np.array([by_run[run] for run in run_N], dtype=np.float64)
        found.append(joined)
    return found


def _before(label: str | None, scorer: Any, subjects: Subjects) -> Iterator[Measure]:
    """Yield the calibration of a question's probabilities as they were before `calibrate`."""
    if isinstance(scorer, Binary):
        for measure in _calibrated(label, scorer, subjects):
            yield replace(measure, point=BEFORE)


def thresholds(target: TargetSpec, truth_NK: Floats, score_NK: Floats, wanted: Wanted) -> list[Points]:
    """Return the operating points of each yes-or-no question of the target, chosen on these validation samples."""
    if target.type not in ("binary", "multilabel"):
        return []
    return [operating_points(truth_NK[:, k], score_NK[:, k], wanted) for k in range(truth_NK.shape[1])]


def measures(
    target: TargetSpec,
    truth_NK: Floats,
    score_NK: Floats,
    subjects: Subjects,
    chosen_K: Sequence[Points],
    scorers_of: Scorers | None = None,
) -> list[Measure]:
    """Return all metrics of these samples.

    Binary and multilabel questions are called at the operating points of `chosen_K`; the classes of a multiclass
    target, one against the rest, by the most probable class, which is no operating point. A kind may ask otherwise
    (`scorers_of`). Of each sample something is known.
    """
    by_label = (scorers_of or scorers)(target, truth_NK, score_NK, chosen_K)
    left = _left_out(by_label, subjects)
    points: dict[str | None, Points] = dict(zip(by_label, chosen_K, strict=False))
    found = [
        measure
        for label, scorer in by_label.items()
        for measure in _of_scorer(label, scorer, left[label], subjects, points.get(label, {}))
    ]
    if type_of(target.type, target.form).over_classes:
        found += _macro(found, by_label, subjects)
    return found


def _left_out(by_label: Mapping[str | None, Any], subjects: Subjects) -> dict[str | None, Values]:
    """Return, by label, the values of the metrics that need the jackknife: with all, then without each group."""
    found: dict[str | None, Values] = {
        label: scorer.without_each(*groups_of_samples(subjects))
        for label, scorer in by_label.items()
        if isinstance(scorer, Binary)
    }
    rest = {label: scorer for label, scorer in by_label.items() if label not in found}
    chunks: dict[str | None, dict[Any, list[Floats]]] = {label: defaultdict(list) for label in rest}
    for weights_JN in left_out(subjects) if rest else ():
        for label, scorer in rest.items():
            for key, values_J in scorer.left_out(weights_JN).items():
                chunks[label][key].append(values_J)
    return found | {label: {key: np.concatenate(parts) for key, parts in of.items()} for label, of in chunks.items()}


def _of_scorer(label: str | None, scorer: Any, left: Values, subjects: Subjects, points: Points) -> Iterator[Measure]:
    evidence = scorer.evidence(left, subjects)
    for (metric, point), value_1 in scorer(np.ones((1, len(subjects.place_N)))).items():
        value, threshold = float(value_1[0]), points.get(point) if point is not None else None
        if np.isnan(value):
            reason = scorer.why_undefined(metric, point) or (
                threshold if isinstance(threshold, str) else "it is not defined for these samples"
            )
        else:
            reason = scorer.note(metric) if isinstance(scorer, Whole | Binary) else None
        known_N = scorer.counted(metric) if isinstance(scorer, Binary) else scorer.known_N
        yield Measure(
            label, metric, point, value, None if np.isnan(value) else evidence[metric, point], subjects,
            known_N,
            n_positive=int(scorer.positive_N[known_N].sum()) if isinstance(scorer, Binary | Whole | AtTime) else None,
            threshold=threshold if isinstance(threshold, float) else None,
            reason=reason,
        )  # fmt: skip
    if isinstance(scorer, Binary):
        yield from _calibrated(label, scorer, subjects)


def _calibrated(label: str | None, scorer: Binary, subjects: Subjects) -> Iterator[Measure]:
    for metric, found in calibration(scorer.truth_N, scorer.score_N, subjects).items():
        missing = np.isnan(found.value)
        yield Measure(
            label, metric, None, found.value, None if missing else Ready(found), subjects, scorer.known_N,
            n_positive=int(scorer.positive_N.sum()),
            reason=(found.reason or "").removeprefix("no interval: ") if missing else None,
        )  # fmt: skip


def _macro(found: Sequence[Measure], by_label: Mapping[str | None, Any], subjects: Subjects) -> Iterator[Measure]:
    """Yield plain means over classes; absent ones and those without a value are left out."""
    by_class = [measure for measure in found if measure.label is not None and measure.metric not in NO_MACRO]
    for metric, point in dict.fromkeys((measure.metric, measure.point) for measure in by_class):
        members = [measure for measure in by_class if (measure.metric, measure.point) == (metric, point)]
        # An absent class has a Brier score and a specificity, but would flatter the mean.
        kept = [one for one in members if not np.isnan(one.value) and by_label[one.label].positive_N.any()]
        left_out = [one for one in members if one not in kept]
        absent = "no positive case among {} known"
        names = ", ".join(f"{one.label} ({one.reason or absent.format(one.n)})" for one in left_out)
        yield Measure(
            "macro",
            metric,
            point,
            float(np.mean([one.value for one in kept])) if kept else float("nan"),
            Members({str(one.label): one.interval for one in kept}) if kept else None,
            subjects,
            np.ones(len(subjects.place_N), bool),
            threshold=0.5 if point == HALF and metric in AT_THRESHOLD else None,
            reason=f"{len(left_out)} of {len(members)} classes left out: {names}" if left_out else None,
        )


def scorers(
    target: TargetSpec, truth_NK: Floats, score_NK: Floats, chosen_K: Sequence[Points]
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
        return found | {None: Multiclass(truth_N, called_N, target.classes, target.ordered)}
    labels: Sequence[str | None] = target.classes if target.type == "multilabel" else [None]
    return {
        label: Binary(truth_NK[:, k], score_NK[:, k], called_at(score_NK[:, k], points))
        for k, (label, points) in enumerate(zip(labels, chosen_K, strict=True))
    }


def called_at(score_N: Floats, points: Points) -> dict[str | None, Mask | None]:
    """Return who is called positive at each operating point; None where it does not exist."""
    return {name: None if isinstance(at, str) else score_N >= at for name, at in points.items()}


def _survival(target: TargetSpec, truth_NK: Floats, score_NK: Floats) -> dict[str | None, Any]:
    """Return the scorers of (event, days) against (risk, probability by the end of each interval)."""
    event_N, days_N = truth_NK.T
    times_K = np.array(target.intervals)
    found: dict[str | None, Any] = {None: Whole(event_N, days_N, score_NK[:, 0], score_NK[:, 1:], times_K)}
    for days in target.horizons:
        risk_by_N = score_NK[:, 1 + target.intervals.index(days)]
        found[f"{days:g} days"] = AtTime(event_N, days_N, risk_by_N, days)
    return found
