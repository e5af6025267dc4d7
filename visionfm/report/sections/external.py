"""The report's external validation: what a decoder of one place reaches at another, at the threshold it brings along.

From `contrasts.parquet` and the metrics. Invariant: external data are never pooled, neither with the task's own nor
with each other; a value never stands without its n.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionfm.figures.section import Section
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.catalogue import headline, metric_name
from visionfm.metrics.written import NO_VALUE, interval, missing, number, p_value, percent, text_of
from visionfm.report.data import Results
from visionfm.report.sections.recalibration import RecalibrationView, recalibration_view
from visionfm.report.tables import means
from visionfm.report.words import listed
from visionfm.tasks.groups import DATASET
from visionfm.tasks.results import TaskModel, by_dataset
from visionfm.tasks.target_types import type_of

TEMPLATE = "report/sections/external.html.j2"
CARRIED = "validation"  # the threshold with the largest sum of sensitivity and specificity on the task's own validation
AT_CARRIED = ("sensitivity", "specificity")
CALIBRATION = ("calibration_slope", "calibration_in_the_large", "ece")
Row = dict[str, Any]


@dataclass(frozen=True)
class ExternalView:
    """One task: a row for each model, target and dataset; or the matrix of tasks on one dataset each."""

    task: str
    table: Table
    is_matrix: bool = False
    recalibration: RecalibrationView | None = None


def sections(results: Results) -> list[Section]:
    """Return the section; none where no task has external data."""
    views = list(_matrices(results))
    for task, block in results.config.tasks.items():
        if block.external and task in results.contrasts:
            models = [one for one in results.results if one.task == task]
            contrasts = results.contrasts[task]
            rows = contrasts[contrasts["grouping"] == DATASET].to_dict("records")
            local = results.recalibrations.get(task)
            curves = None if local is None or not len(local) else recalibration_view(task, local)
            views.append(ExternalView(task, table(task, models, rows), recalibration=curves))
    return [Section(TEMPLATE, views, "External validation", "external", "External")] if views else []


def _matrices(results: Results) -> Iterator[ExternalView]:
    """Yield a matrix for each model and target of tasks that ask one question of each of several datasets alone."""
    same: dict[str, list[str]] = {}
    for name, block in results.config.tasks.items():
        if len(block.datasets) == 1 and block.external:
            asked = block.model_dump(mode="json", exclude={"datasets", "external"})
            same.setdefault(json.dumps([asked, sorted([*block.datasets, *block.external])]), []).append(name)
    for names in same.values():
        everywhere = {results.config.tasks[name].datasets[0]: name for name in names}
        if len(everywhere) > 1:
            yield from _matrix(everywhere, results)


def _matrix(tasks: Mapping[str, str], results: Results) -> Iterator[ExternalView]:
    """Yield the matrices of tasks by the dataset that they train on: rows trained on, columns tested on."""
    name = listed([task.removesuffix(f"_on_{dataset}") for dataset, task in tasks.items()][:1])
    by_task = {(one.task, one.model): one for one in results.results}
    first = results.config.tasks[next(iter(tasks.values()))]
    tested = list(dict.fromkeys([*tasks, *first.external]))
    for model in first.models:
        for target in by_task[next(iter(tasks.values())), model].targets:
            notes: dict[str, str] = {}
            rows = []
            for dataset, task in tasks.items():
                metric, found = _headlines(by_task[task, model], target)
                cells = [_value(found[other], notes, counted=True) if other in found else Cell(NO_VALUE, numeric=True)
                         for other in tested]  # fmt: skip
                rows.append([Cell(dataset), *cells])
            caption = f"{name}, {model}, {target}: {metric_name(metric)} by where it was trained and tested"
            said = ["The diagonal is the test split of the training data's own dataset; all else is external."]
            said += [f"{mark} {text}" for text, mark in notes.items()]
            yield ExternalView(name, Table(caption, ["trained on", *tested], rows, notes=said), is_matrix=True)


def _headlines(result: TaskModel, target: str) -> tuple[str, dict[str, Row]]:
    """Return the metric that stands for a target, and dataset -> its row."""
    metric, rows = _rows(result, target)
    found = rows[(rows["metric"] == metric) & (rows["operating_point"].map(text_of) == "")]
    return metric, {text_of(row["dataset"]): row for row in found.to_dict("records")}


def _rows(result: TaskModel, target: str) -> tuple[str, Any]:
    """Return the metric that stands for a target, and the test rows of its whole, of the run that is shown first."""
    spec, run = result.targets[target], next(iter([*means(result), *result.runs]))
    over_classes = type_of(spec["type"], spec.get("form")).over_classes
    rows = by_dataset(result.metrics)
    rows = rows[(rows["target"] == target) & (rows["split"] == "test") & (rows["run"] == run)]
    return headline(result.block.kind, spec["type"]), rows[
        rows["class"].map(text_of) == ("macro" if over_classes else "")
    ]


def table(task: str, models: Sequence[TaskModel], contrasts: Sequence[Row]) -> Table:
    """Return the task's own datasets and the external ones, one below the other, for each model and target."""
    notes: dict[str, str] = {}
    lines = [
        line for result in models for target in result.targets for line in _lines(result, target, contrasts, notes)
    ]
    several = [name for name in ("model", "target") if len({line[0][name] for line in lines}) > 1]
    columns = list(dict.fromkeys(column for _, cells in lines for column in cells))
    body = [
        [*(Cell(heads[name]) for name in several), *(Cell(heads[name]) for name in ("trained on", "tested on")),
         *(cells.get(column, Cell(NO_VALUE, numeric=True)) for column in columns)]
        for heads, cells in lines
    ]  # fmt: skip
    said = ["p: with Holm's correction over all groups and datasets of the task."]
    said += [f"{mark} {text}" for text, mark in notes.items()]
    heads = [*several, "trained on", "tested on"]
    return Table(f"{task}: external validation", [*heads, *columns], body, heads=len(heads), notes=said)


def _lines(
    result: TaskModel, target: str, contrasts: Sequence[Row], notes: dict[str, str]
) -> Iterator[tuple[dict[str, str], dict[str, Cell]]]:
    """Yield (heads, cells by column) of each tested dataset, the task's own first."""
    metric, rows = _rows(result, target)
    for dataset in result.tested_on():
        found = {(row["metric"], text_of(row["operating_point"])): row
                 for row in rows[rows["dataset"] == dataset].to_dict("records")}  # fmt: skip
        first = found.get((metric, ""))
        if first is None:
            continue
        outside = dataset in result.external
        place = (result.model, target, dataset)
        of_place = [row for row in contrasts if (row["model"], row["target"], row["group"]) == place]
        compared = [row for row in of_place if row["metric"] == metric and row["in_family"]]
        yield (
            {"model": result.model, "target": target, "trained on": listed(result.block.datasets),
             "tested on": f"{dataset}, external" if outside else dataset},
            dict(_cells(found, metric, first, compared if outside else None, notes)),
        )  # fmt: skip


def _cells(
    found: dict[tuple[str, str], Row], metric: str, first: Row, compared: Sequence[Row] | None, notes: dict[str, str]
) -> Iterator[tuple[str, Cell]]:
    yield "n", Cell(f"{int(first['n']):,}", f"{int(first['n_subjects']):,}\u00a0subjects", numeric=True)
    if not missing(first["n_positive"]) and first["n"]:
        share = percent(first["n_positive"] / first["n"])
        yield "prevalence", Cell(share, f"{int(first['n_positive']):,}\u00a0positive", numeric=True)
    yield metric_name(metric), _value(first, notes)
    yield "difference", Cell("", numeric=True) if compared is None else _differences(compared, notes)
    for name in AT_CARRIED:
        if (name, CARRIED) in found:
            yield f"{metric_name(name)} at the transported threshold", _value(found[name, CARRIED], notes)
        elif (name, "") in found and name != metric:
            yield metric_name(name), _value(found[name, ""], notes)
    for name in CALIBRATION:
        if (name, "") in found:
            yield metric_name(name), _value(found[name, ""], notes)


def _value(row: Row, notes: dict[str, str], *, counted: bool = False) -> Cell:
    reason = text_of(row["reason"])
    mark = notes.setdefault(reason, f"[{len(notes) + 1}]") if reason else ""
    if missing(row["value"]):
        return Cell(NO_VALUE, numeric=True, mark=mark)
    unit = text_of(row["unit"])
    text = number(float(row["value"]), row["metric"]) + (f" {unit}" if unit else "")
    small = [interval(row["ci_low"], row["ci_high"], row["metric"])]
    small += [f"n\u00a0{int(row['n']):,}"] if counted else []
    return Cell(text, "\n".join(part for part in small if part), numeric=True, mark=mark)


def _differences(rows: Sequence[Row], notes: dict[str, str]) -> Cell:
    """Return the difference to each of the task's own datasets, never to their mixture."""
    texts, small, marks = [], [], []
    for row in rows:
        reason = text_of(row["reason"])
        marks += [notes.setdefault(reason, f"[{len(notes) + 1}]")] if reason else []
        to = f" to {row['reference']}" if len(rows) > 1 else ""
        if missing(row["difference"]):
            texts.append(f"{NO_VALUE}{to}")
            continue
        texts.append(number(float(row["difference"]), row["metric"]) + to)
        limits = interval(row["difference_low"], row["difference_high"], row["metric"])
        p = "" if missing(row["p_holm"]) else f"p {p_value(row['p_holm'])}"
        small += [part for part in (limits, p) if part]
    return Cell("; ".join(texts), "\n".join(small), numeric=True, mark=" ".join(dict.fromkeys(marks)))
