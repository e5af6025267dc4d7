"""Stage `compare`: what all models of a task answered -> comparison.parquet, differences with intervals and p values.

A row per pair, dataset, target, class and metric. Two are compared on the test samples that both answered, paired by
their ids; several seeds of one decoder are one contestant, by their mean. With folds it is what the decoders of all
folds answered, each of the people whom it never saw; on external data, which all of them were asked, their mean.
Invariant: each row has its difference, interval and p, or the reason why not; datasets are never pooled; the family of
Holm's correction is the headline metric of each pair, target and dataset.
Shape legend: N samples, R runs (seeds) of one contestant.
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
from visionfm.artifacts.arguments import by_name, digests_of
from visionfm.errors import ArtifactError, UsageError
from visionfm.metrics import comparison
from visionfm.metrics.catalogue import METRICS, headline, unit_of
from visionfm.metrics.comparison import Difference
from visionfm.metrics.evidence import Ranking
from visionfm.metrics.intervals import wider_by
from visionfm.metrics.measure import Key, Measure
from visionfm.runtime.progress import track
from visionfm.tasks import kind_of, scored
from visionfm.tasks.prediction_arrays import ALL, REDO
from visionfm.tasks.runs import MEAN, OBSERVER, pooled_run
from visionfm.tasks.scored import Scored
from visionfm.tasks.settings import CompareSettings, ModelsSettings
from visionfm.tasks.target_types import type_of

SCHEMA = "visionfm/comparison/1"
SIDES = ("first", "second")
COLUMNS = {
    "task": "string",
    **{f"{side}_{name}": "string" for side in SIDES for name in ("model", "head", "run")},
    "dataset": "string", "target": "string", "class": "string", "metric": "string", "operating_point": "string",
    "first_value": "double", "second_value": "double",
    "difference": "double", "ci_low": "double", "ci_high": "double", "p": "double", "p_holm": "double",
    "method": "string", "unit": "string", "n": "int64", "n_subjects": "int64", "n_left_out": "int64",
    "first_seeds": "int64", "second_seeds": "int64", "first_seed_sd": "double", "second_seed_sd": "double",
    "in_family": "bool", "reason": "string",
}  # fmt: skip
Answers = Mapping[tuple[str, str], Mapping[str, Scored]]  # (model, run) -> target -> what was answered
log = logging.getLogger("visionfm")


class Contestant(NamedTuple):
    """A model's own decoder (`beside` is None), or what stands beside it: a baseline, the second observer."""

    model: str
    beside: str | None = None

    def runs(self, settings: CompareSettings) -> list[str]:
        """Return its runs, whose mean counts; of several divisions into folds one for each."""
        return settings.runs if self.beside is None else settings.beside_runs(self.beside)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's flags."""
    parser.add_argument(
        "--compared", required=True, nargs="+", metavar="MODEL=FILE",
        help="predictions.parquet of each run, or image_metrics.parquet of a task of masks",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="comparison.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = CompareSettings.model_validate_json(args.settings)
    compare(by_name(args.compared, "MODEL"), args.out, settings)


def compare(compared: Mapping[str, Sequence[Path]], out: Path, settings: CompareSettings) -> None:
    """Publish the differences at `out`; `compared` are the files of each model."""
    if strange := sorted(set(compared) ^ set(settings.models)):
        raise UsageError(
            "--compared has not the task's models",
            expected=", ".join(settings.models),
            found=", ".join(compared),
            do=f"give or leave out {', '.join(strange)}",
        )
    made_by = artifacts.provenance("compare", settings.model_dump(mode="json"), digests_of(compared))
    if artifacts.recall(out, made_by):
        return
    rows = differences(read(compared, settings), settings)
    artifacts.write_table(out, artifacts.table_of(rows, COLUMNS), made_by, schema=SCHEMA)
    log.info("compare: %d rows; %s", len(rows), out)


def read(compared: Mapping[str, Sequence[Path]], settings: ModelsSettings) -> Answers:
    """Return what all models answered."""
    found: dict[tuple[str, str], Mapping[str, Scored]] = {}
    for model, paths in compared.items():
        of_model = settings.of(model)
        if kind_of(of_model.kind).block.has_masks:
            (path,) = paths
            of_runs = scored.read([], of_model, artifacts.read_table(path).to_pandas())
        else:
            of_runs = scored.read(list(paths), of_model)
        found |= {(model, run): targets for run, targets in of_runs.items()}
    return found


# --- who against whom -----------------------------------------------------------------------------------------------


def pairs(settings: CompareSettings, observed: bool) -> list[tuple[Contestant, Contestant]]:
    """Return the pairs in the order of the config; `observed`: there are a second observer's masks.

    `headline`: the first model against each other one, and each against what stands beside it. `all`: every pair, but
    for those of one human's masks.
    """
    own = [Contestant(model) for model in settings.models]
    beside = [Contestant(model, name) for model in settings.models for name in settings.baselines if "-" not in name]
    human = [Contestant(model, OBSERVER) for model in settings.models] if observed else []
    same_model = [(one, other) for one in own for other in [*beside, *human] if one.model == other.model]
    if settings.pairs == "all":
        found = list(combinations([*own, *beside], 2))
        return [*found, *(pair for pair in same_model if pair not in found)]
    return [*((own[0], other) for other in own[1:]), *same_model]


# --- rows -----------------------------------------------------------------------------------------------------------


class Tested:
    """One run's answers to one target, of test samples with all their modalities."""

    def __init__(self, answered: Scored) -> None:
        """`answered` has all samples."""
        self.answered = answered
        self._measured: dict[bytes, dict[Key, Measure]] = {}

    @cached_property
    def by_dataset(self) -> dict[str, dict[str, int]]:
        """Return dataset -> sample id -> its row."""
        samples = self.answered.samples
        found: dict[str, dict[str, int]] = {}
        for row in np.flatnonzero((samples.split_N == "test") & (samples.subset_N == ALL)):
            found.setdefault(samples.dataset_N[row], {})[samples.sample_N[row]] = int(row)
        return found

    def measures(self, rows_N: NDArray[np.intp]) -> dict[Key, Measure]:
        """Return the measures of these rows; most pairs ask for the same ones."""
        key = rows_N.tobytes()
        if key not in self._measured:
            self._measured[key] = {measure.key: measure for measure in self.answered.measures(rows_N)}
        return self._measured[key]


def differences(answers: Answers, settings: CompareSettings) -> list[dict[str, Any]]:
    """Return the rows of comparison.parquet."""
    tested = {at: {name: Tested(one) for name, one in targets.items()} for at, targets in answers.items()}
    every = [one for targets in tested.values() for one in targets.items()]
    datasets: dict[str, set[str]] = {name: set() for name, _ in every}
    for name, one in every:
        datasets[name] |= set(one.by_dataset)
    work = [
        (pair, target, dataset)
        for pair in pairs(settings, any(run == OBSERVER for _, run in answers))
        for target, names in datasets.items()
        for dataset in sorted(names)
    ]
    rows = []
    for pair, target, dataset in track(work, total=len(work), what="compare", unit="comparisons"):
        sides = [_asked(tested, one.model, one.runs(settings), target, dataset) for one in pair]
        for key, found in _compared(sides[0], sides[1], dataset, headline_of(target, settings)):
            rows.append(_row(pair, target, dataset, key, found, settings))
    family = [row for row in rows if row["in_family"]]
    p_K = np.array([np.nan if row["p"] is None else row["p"] for row in family])
    for row, p_holm in zip(family, comparison.holm(p_K), strict=True):
        row["p_holm"] = _known(float(p_holm))
    return rows


def _asked(
    tested: Mapping[tuple[str, str], Mapping[str, Tested]], model: str, runs: Sequence[str], target: str, dataset: str
) -> list[Tested]:
    """Return the answers on a dataset: those of the runs, or of their folds' decoders where each was asked it."""
    found = []
    for run in runs:
        folds = [at for at in tested if at[0] == model and at[1] != run and pooled_run(at[1]) == run]
        whole = not folds or dataset in tested[model, run][target].by_dataset
        found += [tested[at][target] for at in ([(model, run)] if whole else folds)]
    return found


def headline_of(target: str, settings: ModelsSettings) -> Key:
    """Return what stands for a target."""
    spec = settings.evaluate.targets.get(target)
    label = "macro" if spec is not None and type_of(spec.type, spec.form).over_classes else None
    return label, headline(settings.evaluate.kind, "" if spec is None else spec.type), None


class Compared(NamedTuple):
    """One difference, and what each side's runs reached; `left_out`: samples that only some of the runs answered."""

    difference: Difference
    first_R: list[float]
    second_R: list[float]
    n: int
    left_out: int


def _compared(
    first_R: Sequence[Tested], second_R: Sequence[Tested], dataset: str, asked: Key
) -> Iterator[tuple[Key, Compared]]:
    """Yield each metric's difference on the samples of a dataset that all runs of both answered."""
    rows_of = [run.by_dataset.get(dataset, {}) for run in (*first_R, *second_R)]
    common = sorted(set.intersection(*map(set, rows_of)))
    left_out = len(set.union(*map(set, rows_of))) - len(common)
    if not common:
        nothing = Difference(np.nan, None, None, None, None, "no comparison: no test sample was answered by both", 0)
        yield asked, Compared(nothing, [], [], 0, left_out)
        return
    runs = [*first_R, *second_R]
    rows_RN = [np.array([rows[sample] for sample in common], np.intp) for rows in rows_of]
    _check_truth([run.answered for run in runs], rows_RN, common)
    found = [run.measures(rows_N) for run, rows_N in zip(runs, rows_RN, strict=True)]
    for key in found[0]:
        if all(key in measures for measures in found) and METRICS[key[1]].compares:
            of_runs = [measures[key] for measures in found]
            first, second = of_runs[: len(first_R)], of_runs[len(first_R) :]
            first_V, second_V = ([one.value for one in side] for side in (first, second))
            n = min(one.n for one in of_runs)
            yield key, Compared(_difference(first, second), first_V, second_V, n, left_out)


def _check_truth(runs: Sequence[Scored], rows_RN: Sequence[NDArray[np.intp]], common: Sequence[str]) -> None:
    """Raise ArtifactError where the same sample was scored against different truths: the difference is no model's."""
    truth_NK = runs[0].truth_NK[rows_RN[0]]
    for run, rows_N in zip(runs[1:], rows_RN[1:], strict=True):
        other_NK = run.truth_NK[rows_N]
        unlike_N = ((truth_NK != other_NK) & ~(np.isnan(truth_NK) & np.isnan(other_NK))).any(axis=1)
        if unlike_N.any():
            first = int(np.argmax(unlike_N))
            raise ArtifactError(
                "one sample was scored against different truths",
                expected=f"{truth_NK[first].tolist()} for all models",
                found=f"{other_NK[first].tolist()} for another, in {int(unlike_N.sum())} of {len(common)} samples",
                where=f"sample {common[first]}",
                do=REDO,
            )


def _difference(first_R: Sequence[Measure], second_R: Sequence[Measure]) -> Difference:
    """Return the difference of the means over runs.

    Where answers of folds are compared with those of somebody who learned from nobody (a second observer), both sides
    get the larger error: it is the difference's.
    """
    people = min((one.folds_people for one in (*first_R, *second_R) if one.folds_people is not None), default=None)
    first_R, second_R = (
        [one if one.folds_people == people else replace(one, folds_people=people) for one in side]
        for side in (first_R, second_R)
    )
    n_subjects = min(one.n_subjects for one in (*first_R, *second_R))
    value = float(np.mean([one.value for one in first_R]) - np.mean([one.value for one in second_R]))
    without = next((one for one in (*first_R, *second_R) if one.evidence is None), None)
    if without is not None:
        return Difference(value, None, None, None, None, f"no comparison: {without.reason}", n_subjects)
    ranked = [[one.evidence for one in side if isinstance(one.evidence, Ranking)] for side in (first_R, second_R)]
    if all(ranked):
        scores = [np.stack([one.score_N for one in side]) for side in ranked]
        wider = 1.0 if people is None else wider_by(people)
        found = comparison.auroc(ranked[0][0].truth_N, scores[0], scores[1], first_R[0].subjects, wider)
    else:
        found = comparison.paired([one.interval for one in first_R], [one.interval for one in second_R], n_subjects)
    method = f"{found.method}, folds" if people is not None and found.method is not None else found.method
    return replace(found, difference=value, n_subjects=n_subjects, method=method)


def _row(
    pair: tuple[Contestant, Contestant], target: str, dataset: str, key: Key, found: Compared, settings: CompareSettings
) -> dict[str, Any]:
    spec, one, (label, metric, point) = settings.evaluate.targets.get(target), found.difference, key
    row: dict[str, Any] = {"task": settings.evaluate.task}
    for side, who, values_R in zip(SIDES, pair, (found.first_R, found.second_R), strict=True):
        runs = who.runs(settings)
        row |= {
            f"{side}_model": who.model,
            f"{side}_head": who.beside or settings.evaluate.head,
            f"{side}_run": MEAN if len(runs) > 1 else runs[0],
            f"{side}_value": _known(float(np.mean(values_R))) if values_R else None,
            f"{side}_seeds": max(len(runs), len(values_R)),
            f"{side}_seed_sd": _known(float(np.std(values_R, ddof=1))) if len(values_R) > 1 else None,
        }
    return row | {
        "dataset": dataset, "target": target, "class": label, "metric": metric, "operating_point": point,
        "difference": _known(one.difference), "ci_low": one.low, "ci_high": one.high, "p": one.p, "p_holm": None,
        "method": one.method, "unit": unit_of(metric, None if spec is None else spec.unit),
        "n": found.n, "n_subjects": one.n_subjects, "n_left_out": found.left_out,
        "in_family": target in settings.evaluate.targets and key == headline_of(target, settings), "reason": one.reason,
    }  # fmt: skip


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
