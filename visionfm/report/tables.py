"""Metrics as tables for people: the summary, and every task's numbers by class, dataset, modality and subset.

From the long metrics table to `Table`s of text; no HTML here.
Invariant: a value never stands without its n; a missing one shows a dash and its reason in words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from visionfm.metrics.catalogue import METRICS, headline, metric_name
from visionfm.report.data import TaskModel
from visionfm.report.words import NO_VALUE, interval, missing, number
from visionfm.tasks.runs import OBSERVER

COUNTS = ("n", "n_positive", "n_subjects")
WHOLE = ("all", "", "macro")
MEAN = "mean"


class Cell(NamedTuple):
    """A table cell: `small` stands below `text`, `mark` points to a note below the table."""

    text: str
    small: str = ""
    numeric: bool = False
    mark: str = ""


@dataclass
class Table:
    """A table with its caption; the first `heads` cells of a row are headers; `notes` stand below."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    heads: int = 1
    notes: list[str] = field(default_factory=list)


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
    unit: str = ""

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
        over_classes = self.positives is None and self.metric in ("auroc", "dice")
        return metric_name(self.metric) + (" (macro)" if over_classes else "")

    def place(self, value: float | None) -> float:
        """Return where a value lies on a bar from 0 to 100."""
        return round(100 * min(1.0, max(0.0, value or 0.0)), 2)


def text_of(value: Any) -> str:
    """Return a cell of a text column; missing is empty."""
    return "" if missing(value) else str(value)


def _whole(column: Any) -> Any:
    """Return a mask of the rows that say `all` (or nothing) in a column."""
    return column.map(lambda value: text_of(value) in WHOLE)


def overall(metrics: Any) -> Any:
    """Return the rows over everything: no single dataset, modality or subset."""
    return metrics[_whole(metrics["dataset"]) & _whole(metrics["modality"]) & _whole(metrics["modalities"])]


def headlines(result: TaskModel, kind: str, runs: Sequence[str], tested_on: str) -> list[Headline]:
    """Return one summary row per target: the value on test data of the mean over seeds, or of the only run."""
    test = overall(result.metrics)
    test = test[test["split"] == "test"]
    found = []
    for target, spec in result.targets.items():
        metric = headline(kind, spec["type"])
        of_target = test[(test["target"] == target) & (test["metric"] == metric)]
        if spec["type"] in ("multiclass", "multilabel", "mask"):
            of_target = of_target[of_target["class"] == "macro"]
        by_run = {run: of_target[of_target["run"] == run] for run in [*_means(result), *runs]}
        first = next(iter(by_run.values()))
        if not len(first):
            found.append(Headline(result.task, result.model, target, metric, None, None, None, 0, None, 0, tested_on,
                                  "evaluate wrote no such row", ""))  # fmt: skip
            continue
        row = first.iloc[0]
        others = {run: table.iloc[0]["value"] for run, table in list(by_run.items())[1:] if len(table)}
        found.append(
            Headline(
                task=result.task,
                model=result.model,
                target=target,
                metric=metric,
                value=None if missing(row["value"]) else float(row["value"]),
                low=None if missing(row["ci_low"]) else float(row["ci_low"]),
                high=None if missing(row["ci_high"]) else float(row["ci_high"]),
                n=int(row["n"]),
                positives=int(row["n_positive"])
                if spec["type"] in ("binary", "event") and not missing(row["n_positive"])
                else None,
                subjects=int(row["n_subjects"]),
                tested_on=tested_on,
                reason=text_of(row["reason"]),
                other_runs=", ".join(
                    f"{run} {NO_VALUE if missing(value) else number(float(value), metric)}"
                    for run, value in others.items()
                ),
                unit=text_of(row["unit"]),
            )
        )
    return found


def _means(result: TaskModel) -> list[str]:
    """Return the name that `evaluate` gave to the mean over seeds, where there are several."""
    return [MEAN] if (result.metrics["run"] == MEAN).any() else []


def areas(result: TaskModel, target: str, run: str) -> dict[tuple[str, str], str]:
    """Return `(metric, class) -> "0.91 (0.85 to 0.95)"` of a target's test results, for figure legends."""
    rows = overall(result.metrics)
    rows = rows[(rows["target"] == target) & (rows["run"] == run) & (rows["split"] == "test")]
    rows = rows[rows["metric"].isin(["auroc", "average_precision"]) & rows["value"].notna()]
    names = result.targets[target]["classes"]
    found = {}
    for row in rows.to_dict("records"):
        name = text_of(row["class"])
        if result.targets[target]["type"] == "binary":
            name = names[1] if len(names) == 2 else "positive"
        value, low, high = row["value"], row["ci_low"], row["ci_high"]
        found[row["metric"], name] = f"{value:.2f}" + ("" if missing(low) else f" ({low:.2f}-{high:.2f})")
    return found


def metric_tables(result: TaskModel, runs: Sequence[str], baselines: Sequence[str]) -> list[tuple[str, Table]]:
    """Return (heading, table) of all numbers: over all test data first, then by part, then validation."""
    metrics = result.metrics
    test = metrics[metrics["split"] == "test"]
    whole_dataset, whole_modality = _whole(test["dataset"]), _whole(test["modality"])
    whole_subset = _whole(test["modalities"])
    shown = [*_means(result), *runs]
    first = test["run"] == shown[0]
    whole = whole_dataset & whole_modality & whole_subset
    parts = [
        ("All test data", [], test[whole & first]),
        (
            _beside(baselines),
            ["run"],
            test[whole & (first | test["run"].isin(baselines))] if baselines else [],
        ),
        ("Each seed", ["run"], test[whole & ~first & test["run"].isin(runs)]),
        ("By dataset", ["dataset"], test[~whole_dataset & whole_modality & whole_subset & first]),
        ("By modality", ["modality"], test[~whole_modality & whole_subset & first]),
        ("With fewer modalities", ["modalities"], test[~whole_subset & whole_dataset & first]),
    ]
    other = overall(metrics[(metrics["split"] != "test") & (metrics["run"] == shown[0])])
    parts += [(f"On {split} data", [], other[other["split"] == split]) for split in dict.fromkeys(other["split"])]
    found = []
    for heading, by, rows in parts:
        if len(rows):
            which = (
                f" ({'mean over seeds' if shown[0] == MEAN else shown[0]})" if len(runs) > 1 and "run" not in by else ""
            )
            found.append((heading, pivot(rows, by, f"{result.task}, {result.model}: {heading.lower()}{which}")))
    return found


def _beside(runs: Sequence[str]) -> str:
    return "Beside the second observer" if OBSERVER in runs else "Beside the baselines"


def _metric_column(row: dict[str, Any]) -> str:
    point = text_of(row["operating_point"])
    name = metric_name(row["metric"])
    if row["metric"] == "success_rate":
        return f"within {point}"
    if point == "0.5":
        return f"{name} at 0.5"
    return f"{name} at a threshold from {point}" if point else name


def pivot(rows: Any, by: Sequence[str], caption: str) -> Table:
    """Return metrics side by side, one row for each (part, target, class, n)."""
    records = rows.to_dict("records")
    several_targets = len({record["target"] for record in records}) > 1
    several_classes = any(text_of(record["class"]) for record in records)
    survival = any(record["metric"].startswith("concordance") for record in records)
    heads = [*by, *(["target"] if several_targets else []), *(["class"] if several_classes else [])]
    if not heads:
        heads = ["target"]
    columns = list(dict.fromkeys(_metric_column(record) for record in records))
    places: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in records:
        key = (*(text_of(record[name]) for name in heads), *(_whole_number(record[name]) for name in COUNTS))
        places.setdefault(key, {})[_metric_column(record)] = record
    notes: dict[str, str] = {}
    body = []
    for key, values in places.items():
        n, positives, subjects = key[len(heads) :]
        small = [f"{positives} {'events' if survival else 'positive'}"] if positives else []
        small.append(f"{subjects} subject" + ("s" if subjects != "1" else ""))
        cells = [Cell(_head(name, text, survival)) for name, text in zip(heads, key, strict=False)]
        cells.append(Cell(n, "\n".join(small), numeric=True))
        body.append(cells + [_value(values.get(column), notes) for column in columns])
    marked = [f"{mark} {text}" for text, mark in notes.items()]
    shown = ["horizon" if survival and name == "class" else name for name in heads]
    return Table(caption, [*shown, "n", *columns], body, heads=len(heads), notes=marked)


def _whole_number(value: Any) -> str:
    return "" if missing(value) else f"{int(value):,}"


def _head(name: str, text: str, survival: bool = False) -> str:
    if name == "class" and text in WHOLE:
        if survival:
            return "all times"
        return "macro" if text == "macro" else "all classes"
    return text


def _value(record: dict[str, Any] | None, notes: dict[str, str]) -> Cell:
    if record is None:
        return Cell("", numeric=True)
    reason = text_of(record["reason"])
    if missing(record["value"]):
        return Cell(NO_VALUE, numeric=True, mark=_mark(reason or "no reason was given", notes))
    metric = record["metric"]
    small = interval(record["ci_low"], record["ci_high"], metric)
    chosen = text_of(record["operating_point"]) not in ("", "0.5") and metric != "success_rate"
    if chosen and not missing(record["threshold"]):
        small = f"{small}\nthreshold {number(float(record['threshold']), 'auroc')}".strip()
    unit = text_of(record["unit"])
    value = number(float(record["value"]), metric) + (f" {unit}" if unit else "")
    return Cell(value, small, numeric=True, mark=_mark(reason, notes) if reason else "")


def _mark(reason: str, notes: dict[str, str]) -> str:
    return notes.setdefault(reason, f"[{len(notes) + 1}]")


def counted(caption: str, head: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[int]]]) -> Table:
    """Return a table of counts."""
    body = [[Cell(name), *(Cell(f"{value:,}", numeric=True) for value in values)] for name, values in rows]
    return Table(caption, [head, *columns], body)
