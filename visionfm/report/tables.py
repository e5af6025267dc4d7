"""Metrics as tables for people: every task's numbers by class, dataset, modality and subset.

From the long metrics table to `Table`s of text; no HTML here.
Invariant: a value never stands without its n; a missing one shows a dash and its reason in words.
"""

from collections.abc import Sequence
from typing import Any

from visionfm.figures.tables import Cell, Table
from visionfm.metrics.catalogue import metric_name
from visionfm.metrics.written import NO_VALUE, interval, missing, number, text_of
from visionfm.tasks.results import WHOLE, TaskModel, overall, whole
from visionfm.tasks.runs import MEAN, OBSERVER
from visionfm.tasks.target_types import TYPES

COUNTS = ("n", "n_positive", "n_subjects")


def means(result: TaskModel) -> list[str]:
    """Return the name that `evaluate` gave to the mean over seeds, where there are several."""
    return [MEAN] if (result.metrics["run"] == MEAN).any() else []


def metric_tables(result: TaskModel) -> list[tuple[str, Table]]:
    """Return (heading, table) of all numbers: over all test data first, then by part, then validation."""
    metrics, runs = result.metrics, result.runs
    beside = [*result.baselines, *([OBSERVER] if (metrics["run"] == OBSERVER).any() else [])]
    test = metrics[metrics["split"] == "test"]
    one_dataset, one_modality, fewer = (~whole(test[name]) for name in ("dataset", "modality", "modalities"))
    shown = [*means(result), *runs]
    first = test["run"] == shown[0]
    everything = ~one_dataset & ~one_modality & ~fewer
    parts = [
        ("All test data", [], test[everything & first]),
        (_beside(beside), ["run"], test[everything & (first | test["run"].isin(beside))] if beside else []),
        ("Each seed", ["run"], test[everything & ~first & test["run"].isin(runs)]),
        ("By dataset", ["dataset"], test[one_dataset & ~one_modality & ~fewer & first]),
        ("By modality", ["modality"], test[one_modality & ~fewer & first]),
        ("With fewer modalities", ["modalities"], test[fewer & ~one_dataset & first]),
    ]
    other = overall(metrics[(metrics["split"] != "test") & (metrics["run"] == shown[0])])
    parts += [(f"On {split} data", [], other[other["split"] == split]) for split in dict.fromkeys(other["split"])]
    survival = any(TYPES[target["type"]].at_times for target in result.targets.values())
    found = []
    for heading, by, rows in parts:
        # By one dataset, or by one modality: the same numbers as over all.
        if len(rows) and not (by in (["dataset"], ["modality"]) and rows[by[0]].nunique() == 1):
            of = (
                f" ({'mean over seeds' if shown[0] == MEAN else shown[0]})" if len(runs) > 1 and "run" not in by else ""
            )
            caption = f"{result.task}, {result.model}: {heading.lower()}{of}"
            found.append((heading, pivot(rows, by, caption, survival)))
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


def pivot(rows: Any, by: Sequence[str], caption: str, survival: bool = False) -> Table:
    """Return metrics side by side, one row for each (part, target, class, n)."""
    records = rows.to_dict("records")
    several_targets = len({record["target"] for record in records}) > 1
    several_classes = any(text_of(record["class"]) for record in records)
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
        # Not broken within: the columns of a wide table are narrow.
        small = [f"{positives}\u00a0{'events' if survival else 'positive'}"] if positives else []
        small.append(f"{subjects}\u00a0subject" + ("s" if subjects != "1" else ""))
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
