"""Stage `recalibrate`: how many labelled local subjects put a decoder's probabilities right elsewhere?

For each external dataset of a task a row per model, run, target, class, number of local subjects and metric ->
recalibration.parquet. Local subjects are drawn by seed, nested (20 lie in 50), and fit Platt's scaling.
Invariant: whom it is fitted on is never scored, and the same subjects are scored for every number, so that the numbers
of a curve can be compared.
Shape legend: N samples, S subjects.
"""

import argparse
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.arguments import by_name, check_given, digests_of
from visionfm.metrics.calibration import calibration
from visionfm.metrics.evidence import Interval, Ranking
from visionfm.metrics.intervals import interval
from visionfm.metrics.recalibration import Platt, platt
from visionfm.metrics.weighted import Floats, Mask
from visionfm.tasks.prediction_arrays import ALL, Answers, read_runs
from visionfm.tasks.settings import RecalibrateSettings

SCHEMA = "visionfm/recalibration/1"
SHOWN = ("calibration_slope", "calibration_in_the_large", "ece")
COLUMNS = {
    **{name: "string" for name in ("task", "model", "run", "dataset", "target", "class")},
    "local_subjects": "int64", "local_n": "int64", "local_positive": "int64", "intercept": "double", "slope": "double",
    "metric": "string", "value": "double", "ci_low": "double", "ci_high": "double", "interval": "string",
    "n": "int64", "n_positive": "int64", "n_subjects": "int64", "reason": "string",
}  # fmt: skip
Row = dict[str, Any]
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's flags."""
    parser.add_argument(
        "--predictions", required=True, nargs="+", metavar="MODEL=FILE", help="predictions.parquet of each run"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="recalibration.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = RecalibrateSettings.model_validate_json(args.settings)
    recalibrate(by_name(args.predictions, "MODEL"), args.out, settings)


def recalibrate(predictions: Mapping[str, Sequence[Path]], out: Path, settings: RecalibrateSettings) -> None:
    """Publish the curves at `out`; `predictions` are those of each model's runs."""
    check_given("--predictions", settings.models, predictions)
    made_by = artifacts.provenance("recalibrate", settings.model_dump(mode="json"), digests_of(predictions))
    if artifacts.recall(out, made_by):
        return
    rows = [
        {"task": settings.evaluate.task, "model": model, "run": run, "target": target, **row}
        for model, paths in predictions.items()
        for run, targets in read_runs(list(paths), settings.of(model)).items()
        for target, answers in targets.items()
        if len(set(answers.run_N)) < 2  # of folds each decoder was asked all external samples, together they were not
        if settings.evaluate.targets[target].type in ("binary", "multilabel")
        for row in curves(answers, settings.evaluate.targets[target].classes, settings)
    ]
    artifacts.write_table(out, artifacts.table_of(rows, COLUMNS), made_by, schema=SCHEMA)
    log.info("recalibrate: %d rows; %s", len(rows), out)


class Question(NamedTuple):
    """One yes-or-no question's answers on one external dataset; all known."""

    truth_N: Floats
    score_N: Floats
    subject_N: Any

    def of(self, mask_N: Mask) -> "Question":
        """Return those of some samples."""
        return Question(self.truth_N[mask_N], self.score_N[mask_N], self.subject_N[mask_N])


def curves(answers: Answers, classes: Sequence[str], settings: RecalibrateSettings) -> Iterator[Row]:
    """Yield the rows of one run and target: of each external dataset and class."""
    samples = answers.samples
    for dataset in settings.evaluate.external:
        tested_N = (samples.dataset_N == dataset) & (samples.split_N == "test") & (samples.subset_N == ALL)
        for k in range(answers.truth_NK.shape[1]):
            known_N = tested_N & ~np.isnan(answers.truth_NK[:, k])
            asked = Question(answers.truth_NK[:, k], answers.score_NK[:, k], samples.subject_N).of(known_N)
            label = classes[k] if answers.truth_NK.shape[1] > 1 else None
            for row in _curve(asked, settings):
                yield {"dataset": dataset, "class": label, **row}


def drawn(subject_N: Any, seed: int) -> list[str]:
    """Return the subjects in the order in which they become local ones: one more moves no other."""
    return sorted(set(subject_N), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())


def _curve(asked: Question, settings: RecalibrateSettings) -> Iterator[Row]:
    order = drawn(asked.subject_N, settings.seed)
    feasible = [size for size in settings.local_subjects if 2 * size <= len(order)]  # at least as many are scored
    reserve = set(order[: max(feasible, default=0)])
    scored = asked.of(~np.isin(asked.subject_N, list(reserve)))
    for size in settings.local_subjects:
        local = asked.of(np.isin(asked.subject_N, order[:size])) if size in feasible else asked.of(asked.truth_N > 1)
        few = f"no recalibration: {len(order)} subjects, of whom at least as many must be scored as fit it"
        found: Platt | str = Platt() if size == 0 else platt(local.truth_N, local.score_N) if size in feasible else few
        about: Row = {"local_subjects": size, "local_n": len(local.truth_N), "local_positive": int(local.truth_N.sum())}
        if isinstance(found, str):
            yield from (about | {"metric": metric, "reason": found} for metric in (*SHOWN, "auroc"))
            continue
        about |= {"intercept": found.intercept, "slope": found.slope, "n": len(scored.truth_N)}
        about |= {"n_positive": int(scored.truth_N.sum()), "n_subjects": len(set(scored.subject_N))}
        for metric, one in measured(scored, found(scored.score_N)).items():
            value = None if np.isnan(one.value) else one.value
            yield about | {"metric": metric, "value": value, "ci_low": one.low, "ci_high": one.high,
                           "interval": one.method, "reason": one.reason}  # fmt: skip


def measured(scored: Question, probability_N: Floats) -> dict[str, Interval]:
    """Return what is shown of these probabilities, with its intervals over subjects."""
    of_all = calibration(scored.truth_N, probability_N, scored.subject_N)
    found = {metric: of_all[metric] for metric in SHOWN}
    return found | {"auroc": interval("auroc", Ranking(scored.truth_N, probability_N), scored.subject_N)}
