"""The headline results: one row per task, model, target and dataset, with the metric that stands for it.

Invariant: a value never stands without its n; a missing one shows a dash and its reason in words.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from visionfm.metrics.catalogue import METRICS, headline, metric_name
from visionfm.metrics.written import NO_VALUE, interval, missing, number, text_of
from visionfm.report.data import Results
from visionfm.report.sections.comparison import beside_headline
from visionfm.report.tables import means
from visionfm.tasks.results import TaskModel, by_dataset, whole
from visionfm.tasks.runs import FOLD_MEAN
from visionfm.tasks.target_types import type_of

NAMES = {FOLD_MEAN: "mean of the folds' values"}


class Headline(NamedTuple):
    """One row of the summary."""

    task: str
    model: str
    target: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    positives: int | None
    subjects: int
    tested_on: str
    reason: str
    other_runs: str
    over_classes: bool = False
    counted: str = ""  # what the positives are called
    unit: str = ""
    beside: str = ""  # the best baseline
    dataset: str = ""
    folds: int = 0  # in which its people were tested, each in one

    @property
    def bounded(self) -> bool:
        """Return whether the value can stand on a bar from 0 to 1."""
        return METRICS[self.metric].bounded

    @property
    def text(self) -> str:
        """Return the value as written."""
        return NO_VALUE if self.value is None else number(self.value, self.metric)

    @property
    def interval(self) -> str:
        """Return the interval as written."""
        return interval(self.low, self.high, self.metric)

    @property
    def name(self) -> str:
        """Return the metric's name, with `macro` where it is the mean over classes."""
        return metric_name(self.metric) + (" (macro)" if self.over_classes else "")

    @property
    def guessing(self) -> float | None:
        """Return what guessing reaches."""
        return METRICS[self.metric].guessing


def all_headlines(results: Results) -> list[Headline]:
    """Return the rows of all tasks and models."""
    return [
        line._replace(beside=beside_headline(results, line.task, line.model, line.target, line.dataset))
        for result in results.results
        for line in headlines(result)
    ]


def headlines(result: TaskModel) -> list[Headline]:
    """Return a summary row per target and dataset: the value on test data of the mean over seeds, or of the only run.

    Values pooled over datasets come last, where the task asks for them.
    """
    metrics = result.metrics
    pooled = metrics[whole(metrics["dataset"]) & whole(metrics["modality"]) & whole(metrics["modalities"])]
    own = by_dataset(metrics)
    parts = [(name, own[own["dataset"] == name]) for name in result.tested_on()]
    parts += [("all datasets pooled", pooled)] if len(pooled) else []
    found = []
    for target, spec in result.targets.items():
        of_target = {name: rows[(rows["target"] == target) & (rows["split"] == "test")] for name, rows in parts}
        # A dataset may know nothing of a target of the task.
        lines = [_headline(result, target, spec, name, rows) for name, rows in of_target.items() if len(rows)]
        found += lines or [_headline(result, target, spec, "", own[:0])]
    return found


def _headline(result: TaskModel, target: str, spec: Mapping[str, Any], dataset: str, rows: Any) -> Headline:
    """Return the row of one target from the metrics of its test samples of one dataset."""
    metric = headline(result.block.kind, spec["type"])
    rows = rows[rows["metric"] == metric]
    of_type = type_of(spec["type"], spec.get("form"))
    if of_type.over_classes:
        rows = rows[rows["class"] == "macro"]
    over_folds = [FOLD_MEAN] if result.decoders else []
    by_run = {run: rows[rows["run"] == run] for run in [*means(result), *result.runs, *over_folds]}
    first = next(iter(by_run.values()))
    tested_on = f"{dataset}, external" if dataset in result.external else dataset
    folds = result.block.split.folds if result.block.split and len(by_run.get(FOLD_MEAN, ())) else 0
    tested_on += f", in {folds} folds" if folds else ""
    if not len(first):
        return Headline(result.task, result.model, target, metric, None, None, None, 0, None, 0, tested_on,
                        "evaluate wrote no such row", "")  # fmt: skip
    row = first.iloc[0]
    others = {run: table.iloc[0]["value"] for run, table in list(by_run.items())[1:] if len(table)}
    return Headline(
        task=result.task,
        model=result.model,
        target=target,
        metric=metric,
        value=None if missing(row["value"]) else float(row["value"]),
        low=None if missing(row["ci_low"]) else float(row["ci_low"]),
        high=None if missing(row["ci_high"]) else float(row["ci_high"]),
        n=int(row["n"]),
        positives=int(row["n_positive"]) if of_type.positives and not missing(row["n_positive"]) else None,
        subjects=int(row["n_subjects"]),
        tested_on=tested_on,
        reason=text_of(row["reason"]),
        other_runs=", ".join(
            f"{NAMES.get(run, run)} {NO_VALUE if missing(value) else number(float(value), metric)}"
            for run, value in others.items()
        ),
        over_classes=of_type.over_classes,
        counted=of_type.positives,
        unit=text_of(row["unit"]),
        dataset=dataset,
        folds=folds,
    )
