"""Stage `contrast`: for whom and where a task's models fail -> contrasts.parquet, one model on different samples.

Each group of the test samples of a dataset against the rest of it, each external dataset against each of the task's
own, and these against each other. Invariant: each row has its difference, interval and p, or the reason why not; a
group of fewer people than `smallest_group` says nothing but their number; datasets are never pooled.
Shape legend: N samples, S subjects of all samples of a model, G groups.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset, by_name, check_given, digests_of
from visionfm.metrics import comparison
from visionfm.metrics.catalogue import METRICS, unit_of
from visionfm.metrics.comparison import Difference
from visionfm.metrics.evidence import Interval, Members
from visionfm.metrics.measure import Key, Measure
from visionfm.metrics.scales import scale_of
from visionfm.metrics.weighted import Floats
from visionfm.runtime.progress import track
from visionfm.tasks.compare import Tested, headline_of, read
from visionfm.tasks.evaluate import mean_over_runs
from visionfm.tasks.groups import DATASET, UNKNOWN, Groups, ordered, read_groups
from visionfm.tasks.runs import MEAN, pooled_run
from visionfm.tasks.settings import ContrastSettings

SCHEMA = "visionfm/contrasts/1"
REST = "the rest"
COLUMNS = {
    **{name: "string" for name in ("task", "model", "head", "run", "dataset", "grouping", "group", "reference")},
    "target": "string", "class": "string", "metric": "string", "operating_point": "string", "threshold": "double",
    "value": "double", "ci_low": "double", "ci_high": "double",
    "n": "int64", "n_positive": "int64", "n_subjects": "int64",
    "reference_value": "double", "reference_ci_low": "double", "reference_ci_high": "double",
    "reference_n": "int64", "reference_n_positive": "int64", "reference_n_subjects": "int64",
    "difference": "double", "difference_low": "double", "difference_high": "double",
    "p": "double", "p_holm": "double", "method": "string", "unit": "string", "in_family": "bool", "reason": "string",
}  # fmt: skip
Rows = NDArray[np.intp]
Row = dict[str, Any]
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's flags."""
    parser.add_argument(
        "--compared", required=True, nargs="+", metavar="MODEL=FILE",
        help="predictions.parquet of each run, or image_metrics.parquet of a task of masks",
    )  # fmt: skip
    parser.add_argument("--samples", required=True, type=Path, metavar="FILE", help="samples.parquet of one model")
    parser.add_argument("--labels", nargs="*", default=[], metavar="DATASET=FILE", help="labels.parquet with groups")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="contrasts.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = ContrastSettings.model_validate_json(args.settings)
    labels = {name: paths[0] for name, paths in by_dataset(args.labels).items()}
    contrast(by_name(args.compared, "MODEL"), args.samples, labels, args.out, settings)


def contrast(
    compared: Mapping[str, Sequence[Path]],
    samples: Path,
    labels: Mapping[str, Path],
    out: Path,
    settings: ContrastSettings,
) -> None:
    """Publish the contrasts at `out`; `compared` are each model's files, `labels` those of datasets with groups."""
    check_given("--compared", settings.models, compared)
    check_given("--labels", settings.groups, labels)
    inputs = {
        **digests_of(compared),
        "samples": artifacts.payload_digest(samples),
        **{f"labels/{name}": artifacts.payload_digest(path) for name, path in labels.items()},
    }
    made_by = artifacts.provenance("contrast", settings.model_dump(mode="json"), inputs)
    if artifacts.recall(out, made_by):
        return
    answers = read(compared, settings)
    found = contrasts(answers, read_groups(samples, labels, settings.groups), settings)
    artifacts.write_table(out, artifacts.table_of(found, COLUMNS), made_by, schema=SCHEMA)
    log.info("contrast: %d rows; %s", len(found), out)


# --- what a model reached on some samples ---------------------------------------------------------------------------


class Found(NamedTuple):
    """A measure of some samples, and how far each subject of the model moves it; None where that is not known."""

    measure: Measure
    influence_S: Floats | None


class Side:
    """What the runs of one model answered to one target, of test samples with all their modalities."""

    def __init__(self, runs: Mapping[str, Tested], folds: Mapping[str, Tested]) -> None:
        """`runs` are those whose mean counts; on what only the decoders of their folds were asked, theirs does."""
        self.runs, self.folds = runs, folds
        self.first = next(iter(runs.values()))
        self._found: dict[tuple[str, ...], dict[Key, Found]] = {}

    @cached_property
    def samples(self) -> dict[str, list[str]]:
        """Return dataset -> the ids of the samples that all runs answered, sorted, of whom something is known."""
        found = {}
        every = [self.first, *self.folds.values()]
        for dataset in dict.fromkeys(name for run in every for name in run.by_dataset):
            runs = list(self.asked(dataset).values())
            asked = [(run.by_dataset.get(dataset, {}), run.answered.known_N) for run in runs]
            common = set.intersection(*(set(rows) for rows, _ in asked))
            # Of masks a run may know what another does not: a class that one alone finds where it is not.
            found[dataset] = sorted(name for name in common if any(known_N[rows[name]] for rows, known_N in asked))
        return found

    def asked(self, dataset: str) -> Mapping[str, Tested]:
        """Return the runs that were asked a dataset."""
        return self.runs if dataset in self.first.by_dataset else self.folds

    def people(self, ids: Sequence[str], dataset: str) -> int:
        """Return of how many people these samples are."""
        first = next(iter(self.asked(dataset).values()))
        return len(self._subjects(first, self._rows(first, ids, dataset)))

    def _rows(self, run: Tested, ids: Sequence[str], dataset: str) -> Rows:
        rows = run.by_dataset.get(dataset, {})
        return np.array([rows[name] for name in ids], np.intp)

    def _subjects(self, run: Tested, rows_N: Rows) -> NDArray[np.intp]:
        return np.unique(run.answered.samples.subjects.place_N[rows_N])

    def found(self, ids: Sequence[str], dataset: str) -> dict[Key, Found]:
        """Return the measures of these samples of a dataset."""
        key = (dataset, *ids)
        if key not in self._found:
            self._found[key] = dict(self._measured(ids, dataset))
        return self._found[key]

    def _measured(self, ids: Sequence[str], dataset: str) -> Iterator[tuple[Key, Found]]:
        runs = self.asked(dataset)
        rows = {name: self._rows(run, ids, dataset) for name, run in runs.items()}
        of_runs = {name: list(run.measures(rows[name]).values()) for name, run in runs.items()}
        (name, measures), *others = of_runs.items()
        if others:
            named = {run: runs[run].answered.samples.sample_N[rows_N] for run, rows_N in rows.items()}
            measures = mean_over_runs(of_runs, named, list(of_runs))
        subjects_S = self._subjects(runs[name], rows[name])
        own = self.first.answered.samples.subjects.count
        outside = 0 if runs is self.runs else own  # external people of folds come behind the others: they are others
        more = max((run.answered.samples.subjects.count for run in self.folds.values()), default=0)
        for measure in measures:
            influence_S = measure.interval.influence_S
            spread_S = None
            if len(influence_S) == len(subjects_S):  # else subjects were left out in groups
                spread_S = np.zeros(own + more)
                spread_S[outside + subjects_S] = influence_S
            yield measure.key, Found(measure, spread_S)


# --- rows -----------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a contrast stands."""

    model: str
    target: str
    dataset: str
    grouping: str


def contrasts(answers: Any, groups: Groups, settings: ContrastSettings) -> list[Row]:
    """Return the rows of contrasts.parquet."""
    targets = dict.fromkeys(target for found in answers.values() for target in found)
    work = [(model, target) for model in settings.models for target in targets]
    rows: list[Row] = []
    for model, target in track(work, total=len(work), what="contrast", unit="targets"):
        folds = [run for name, run in answers if name == model and run != pooled_run(run) in settings.runs]
        tested = {run: Tested(answers[model, run][target]) for run in [*settings.runs, *folds]}
        side = Side({run: tested[run] for run in settings.runs}, {run: tested[run] for run in folds})
        for dataset in settings.in_order(side.samples):
            for grouping, of_samples in groups.items():
                rows += _groups(side, Place(model, target, dataset, grouping), of_samples, settings)
        rows += _datasets(side, model, target, settings)
    for of_groups in (True, False):  # two families: the differences, and the tests of interaction
        family = [row for row in rows if row["in_family"] and (row["group"] is not None) == of_groups]
        p_K = np.array([np.nan if row["p"] is None else row["p"] for row in family])
        for row, p_holm in zip(family, comparison.holm(p_K), strict=True):
            row["p_holm"] = _known(float(p_holm))
    _say_twins(rows)
    return rows


def _groups(side: Side, place: Place, of_samples: Mapping[str, str], settings: ContrastSettings) -> list[Row]:
    """Return the rows of one grouping of a dataset's samples: each group against the rest, and their interaction."""
    everyone = side.samples[place.dataset]
    names = ordered([of_samples.get(name, UNKNOWN) for name in everyone], settings.cut(place.dataset, place.grouping))
    if len(names) < 2:
        return []  # all are of one group: the dataset's own row says it all
    members = {group: [name for name in everyone if of_samples.get(name, UNKNOWN) == group] for group in names}
    people = {group: side.people(ids, place.dataset) for group, ids in members.items()}
    known = [group for group in names if group != UNKNOWN]
    rows = []
    for group, ids in members.items():
        silent = None if people[group] >= settings.smallest_group else _too_few(people[group], settings)
        rest = sorted(name for other in known if other != group for name in members[other])
        own = side.found(ids, place.dataset)
        spoken = side.people(rest, place.dataset) >= settings.smallest_group
        others = side.found(rest, place.dataset) if spoken else {}
        counts = group != UNKNOWN and not (len(known) == 2 and group == known[1])  # of two there is one difference
        for key in _keys(side, place):
            compared = _contrast(own.get(key), others.get(key), silent)
            rows.append(
                _row(place, group, REST, key, own.get(key), others.get(key), compared, silent, settings, counts)
            )
    tested = {group: members[group] for group in known if people[group] >= settings.smallest_group}
    return [*rows, *_interactions(side, place, tested, rows, settings)]


def _keys(side: Side, place: Place) -> list[Key]:
    """Return what is measured of a dataset, but what says something of the data alone."""
    return [key for key in side.found(side.samples[place.dataset], place.dataset) if not METRICS[key[1]].of_data]


def _too_few(people: int, settings: ContrastSettings) -> str:
    return f"fewer than {settings.smallest_group} people in the group: {people}; nothing is said of so few"


def _contrast(own: Found | None, other: Found | None, silent: str | None) -> Difference:
    """Return the difference of a measure on two sets of samples; people in both make them correlate."""
    if silent is not None:
        return Difference(np.nan, None, None, None, None, f"no comparison: {silent}", 0)
    if own is None or other is None:
        return Difference(np.nan, None, None, None, None, "no comparison: too few people are outside of the group", 0)
    if np.isnan(own.measure.value) or np.isnan(other.measure.value):
        without = own.measure if np.isnan(own.measure.value) else other.measure
        return Difference(np.nan, None, None, None, None, f"no comparison: {without.reason}", 0)
    if _members(own) != _members(other):
        return Difference(np.nan, None, None, None, None, "no comparison: the two means are over different classes", 0)
    first, second = (replace(one.measure.interval, value=one.measure.value) for one in (own, other))
    return comparison.unpaired(first, second, _correlation(own, other))


def _members(found: Found) -> set[str] | None:
    """Return over what a value is the mean: classes that a group lacks are left out of its macro value."""
    evidence = found.measure.evidence
    return set(evidence.members) if isinstance(evidence, Members) and found.measure.label == "macro" else None


def _correlation(own: Found, other: Found) -> float:
    if own.influence_S is None or other.influence_S is None:
        return 0.0
    errors = np.sqrt((own.influence_S @ own.influence_S) * (other.influence_S @ other.influence_S))
    return float(own.influence_S @ other.influence_S / errors) if errors > 0 else 0.0


def _interactions(
    side: Side, place: Place, members: Mapping[str, Sequence[str]], rows: Sequence[Row], settings: ContrastSettings
) -> Iterator[Row]:
    """Yield, for each metric, whether the groups differ by more than chance: one question for the whole grouping."""
    everyone = side.found(side.samples[place.dataset], place.dataset)
    of_groups = [side.found(ids, place.dataset) for ids in members.values()]
    only_two = len(members) == 2 == len({row["group"] for row in rows} - {UNKNOWN})
    first_of = {_key(row): row for row in rows if row["group"] == next(iter(members), None)}
    for key in _keys(side, place):
        whole, found = everyone[key], [of.get(key) for of in of_groups]
        with_interval = [one for one in found if one is not None and one.measure.interval.reason is None]
        with_interval = [one for one in with_interval if _members(one) == _members(whole)]
        row = _row(place, None, None, key, None, None, _nothing(), None, settings, True)
        row |= {"n": whole.measure.n, "n_positive": whole.measure.n_positive, "n_subjects": whole.measure.n_subjects}
        # Of two groups, and nobody outside of them, it is the question of their difference.
        if only_two and len(with_interval) == 2:
            row |= {name: first_of[key][name] for name in ("p", "method", "reason")}
        else:
            influences = [_own_or_alone(with_interval, at) for at in range(len(with_interval))]
            influence_GS = np.stack(influences) if influences else np.zeros((0, 0))
            intervals = [replace(one.measure.interval, value=one.measure.value) for one in with_interval]
            test = comparison.interaction(intervals, influence_GS, scale_of(key[1]))
            row |= {"p": test.p, "method": test.method, "reason": test.reason}
        yield row


def _own_or_alone(found: Sequence[Found], at: int) -> Floats:
    """Return a group's influences over subjects, and, where only groups of them were left out, over columns of its own.

    All groups get the same columns: the subjects first, then those of each group.
    """
    subjects = max((len(one.influence_S) for one in found if one.influence_S is not None), default=0)
    parts = [found[at].influence_S if found[at].influence_S is not None else np.zeros(subjects)]
    for number, one in enumerate(found):
        if one.influence_S is None:
            alone_S = one.measure.interval.influence_S
            parts.append(alone_S if number == at else np.zeros(len(alone_S)))
    return np.concatenate([part for part in parts if part is not None])


def _datasets(side: Side, model: str, target: str, settings: ContrastSettings) -> Iterator[Row]:
    """Yield each external dataset against each of the task's own, and these against each other."""
    names = [name for name in settings.in_order(side.samples) if side.samples[name]]
    external = [name for name in names if name in settings.evaluate.external]
    own = [name for name in names if name not in external]
    for first, second in [*((one, other) for one in external for other in own), *combinations(own, 2)]:
        sides = side.found(side.samples[first], first), side.found(side.samples[second], second)
        for key in sides[0]:
            if key not in sides[1] or METRICS[key[1]].of_data:
                continue
            found = sides[0][key], sides[1][key]
            place = Place(model, target, first, DATASET)
            yield _row(place, first, second, key, *found, _contrast(*found, None), None, settings, True)


def _nothing() -> Difference:
    return Difference(np.nan, None, None, None, None, None, 0)


def _row(
    place: Place, group: str | None, reference: str | None, key: Key, own: Found | None, other: Found | None,
    compared: Difference, silent: str | None, settings: ContrastSettings, counts: bool,
) -> Row:  # fmt: skip
    """Return a row; `silent`: why nothing is said but how many there are; `counts`: whether it can be in the family."""
    scored = settings.evaluate
    spec, (label, metric, point) = scored.targets.get(place.target), key
    row: Row = dict.fromkeys(COLUMNS) | {
        "task": scored.task, "model": place.model, "head": scored.head,
        "run": MEAN if len(settings.runs) > 1 else settings.runs[0],
        "dataset": place.dataset, "grouping": place.grouping, "group": group, "reference": reference,
        "target": place.target, "class": label, "metric": metric, "operating_point": point,
        "unit": unit_of(metric, None if spec is None else spec.unit),
        "in_family": counts and spec is not None and key == headline_of(place.target, settings),
    }  # fmt: skip
    reasons: list[str | None] = [silent]
    if own is not None:
        measure = own.measure
        row |= {"n": measure.n, "n_subjects": measure.n_subjects}
        if silent is None:
            row |= {"n_positive": measure.n_positive, "threshold": measure.threshold, "value": _known(measure.value)}
            row |= _limits(measure.interval, "")
            reasons += [measure.reason, None if measure.evidence is None else measure.interval.reason]
    if other is not None and silent is None:
        measure = other.measure
        row |= {"reference_value": _known(measure.value), **_limits(measure.interval, "reference_")}
        row |= {f"reference_{name}": getattr(measure, name) for name in ("n", "n_positive", "n_subjects")}
    if silent is None:
        reasons.append(compared.reason)
        row |= {"difference": _known(compared.difference), "difference_low": compared.low, "p": compared.p}
        row |= {"difference_high": compared.high, "method": compared.method}
    said = list(dict.fromkeys(reason for reason in reasons if reason))
    return row | {"reason": "; ".join(said) or None}


def _limits(interval: Interval, before: str) -> Row:
    return {f"{before}ci_low": interval.low, f"{before}ci_high": interval.high}


def _key(row: Row) -> Key:
    return row["class"], row["metric"], row["operating_point"]


def _say_twins(rows: Sequence[Row]) -> None:
    """Give a corrected p to the second of two groups: its test is that of the first, which the family counts once."""
    of_grouping: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["reference"] == REST and row["group"] != UNKNOWN:
            place = (row["model"], row["target"], row["dataset"], row["grouping"], *_key(row))
            of_grouping.setdefault(place, []).append(row)
    for twins in of_grouping.values():
        if len(twins) == 2:
            twins[1]["p_holm"] = twins[0]["p_holm"]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
