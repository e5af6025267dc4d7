"""The paper's tables by file name: characteristics, results, comparisons, external data, subgroups, calibration, cost.

Invariant: each number is one of an artefact, or a count of rows of one; a value never stands without its n.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from visionfm import artifacts
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import missing
from visionfm.report.data import Results
from visionfm.report.headlines import all_headlines
from visionfm.report.paper import flow
from visionfm.report.sections import comparison, external, subgroups
from visionfm.report.sections.datasets import in_folds
from visionfm.report.sections.demographics import characteristics
from visionfm.report.sections.encoders import encoders_table
from visionfm.report.sections.recalibration import recalibration_table
from visionfm.report.tables import metric_tables
from visionfm.report.words import SPLITS
from visionfm.tasks.results import TaskModel
from visionfm.tasks.target_types import counts

NOT_VALIDATION = re.compile(r"On .* data")


def tables(results: Results, flows: list[flow.Flow]) -> dict[str, Table]:
    """Return all tables, name -> table, in the order of a paper."""
    return dict(_all(results, flows))


def _all(results: Results, flows: list[flow.Flow]) -> Iterator[tuple[str, Table]]:
    for one in flows:
        yield f"flow_{one.task}", flow.table(one)
    first: dict[str, TaskModel] = {}
    for result in results.results:
        first.setdefault(result.task, result)
    for task, result in first.items():
        yield f"characteristics_{task}", samples(result)
    for data in results.datasets:
        groups = results.config.datasets[data.name].columns.group_columns
        splits = [split for split in SPLITS if (data.labels["split"] == split).any()]
        parts = {split: data.labels[data.labels["split"] == split] for split in splits} | {"all": data.labels}
        heads = [*(SPLITS[split] for split in splits), "All"]
        people = characteristics(data.name, parts, heads, {name: group.cut for name, group in groups.items()})
        if people is not None:
            people.notes += [f"{data.name}: {said}." for said in in_folds(results.plan, data.name)]
            yield f"people_{data.name}", people
    if results.encoders:
        yield "encoders", encoders_table(results)
    if results.results:
        yield "results", main_results(results)
    for view in _views(comparison, results):
        yield f"comparisons_{view.task}", view.table
    for at, view in enumerate(_views(external, results)):
        yield f"external_{'matrix_' if view.is_matrix else ''}{view.task}_{at}", view.table
    for task, rows in results.recalibrations.items():
        if len(rows):
            yield f"recalibration_{task}", recalibration_table(task, rows)
    for view in _views(subgroups, results):
        yield f"subgroups_{view.task}", view.table
    for result in results.results:
        for heading, table in metric_tables(result):
            if not NOT_VALIDATION.match(heading):
                yield f"{result.task}_{result.model}_{_slug(heading)}", table
    for result in results.results:
        yield f"hyperparameters_{result.task}_{result.model}", hyperparameters(results, result)
    yield "cost", cost(results)


def _views(section: object, results: Results) -> list:  # type: ignore[type-arg]  # each section has views of its own
    found = section.sections(results)  # type: ignore[attr-defined]
    return list(found[0].view) if found else []


def _slug(heading: str) -> str:
    return re.sub(r"[^a-z]+", "_", heading.lower()).strip("_")


def samples(result: TaskModel) -> Table:
    """Return a task's samples by split: how many, of how many people, with which answers."""
    table = result.samples
    parts = flow.parts(result) | {"All": table}
    rows: list[tuple[str, list[str]]] = [
        (f"{result.block.unit}s", [f"{len(part):,}" for part in parts.values()]),
        ("subjects", [f"{part['subject_id'].nunique():,}" for part in parts.values()]),
    ]
    for dataset in sorted(set(table["dataset"])) if table["dataset"].nunique() > 1 else []:
        rows.append((f"from {dataset}", [f"{int((part['dataset'] == dataset).sum()):,}" for part in parts.values()]))
    for name, target in result.targets.items():
        if name in table.columns:
            of_parts = [counts(target, part[name]) for part in parts.values()]
            rows += [(f"{name}: {what}", [f"{found[what]:,}" for found in of_parts]) for what in of_parts[0]]
    body = [[Cell(name), *(Cell(text, numeric=True) for text in texts)] for name, texts in rows]
    return Table(f"{result.task}: samples by split", ["", *parts], body)


def main_results(results: Results) -> Table:
    """Return the metric that stands for each target, on the test data of each dataset, with its interval."""
    columns = ["task", "model", "target", "tested on", "metric", "value", "n", "subjects"]
    rows, notes = [], dict[str, str]()
    for line in all_headlines(results):
        mark = notes.setdefault(line.reason, f"[{len(notes) + 1}]") if line.reason else ""
        unit = f" {line.unit}" if line.unit and line.value is not None else ""
        cells = [Cell(text) for text in (line.task, line.model, line.target, line.tested_on, line.name)]
        small = "" if line.positives is None else f"{line.positives:,} {line.counted}"
        cells.append(Cell(f"{line.text}{unit}", line.interval, numeric=True, mark=mark))
        rows.append([*cells, Cell(f"{line.n:,}", small, numeric=True), Cell(f"{line.subjects:,}", numeric=True)])
    said = ["In brackets: 95 % intervals over subjects.", *(f"{mark} {text}" for text, mark in notes.items())]
    return Table("Main results on test data", columns, rows, heads=5, notes=said)


def hyperparameters(results: Results, result: TaskModel) -> Table:
    """Return each value of the recipe that trained a task's decoders, and what it means."""
    plan, task = results.plan, result.task
    rows = []
    recipes: dict[str, Any] = {}
    if not plan.is_given(task):
        recipes = candidates_of(results, result) or {"value": recipe_of(results, result)}
        first = next(iter(recipes.values()))
        for name, field in type(first).model_fields.items():
            values = [Cell(_value(one.model_dump(mode="json")[name])) for one in recipes.values()]
            rows.append([Cell(name), *values, Cell(field.description or "")])
    notes = ["Validation chose one of these decoders."] if len(recipes) > 1 else []
    columns = ["name", *(recipes or ["value"]), "meaning"]
    return Table(f"{task}, {result.model}: hyper-parameters of the decoder", columns, rows, notes=notes)


def candidates_of(results: Results, result: TaskModel) -> dict[str, Any]:
    """Return the recipes among which validation chose, by name; none where the config says what is trained."""
    plan, task = results.plan, result.task
    if plan.is_given(task) or plan.is_finetuned(task) or plan.is_dense(task):
        return {}
    found = plan.tasks.vector_train_settings(task, plan.seed_runs(task)[0]).candidates
    return {name: one.recipe for name, one in found.items()}


def recipe_of(results: Results, result: TaskModel):  # type: ignore[no-untyped-def]  # each family has recipes of its own
    """Return the recipe of a task's decoders, its values spelled out."""
    plan, run = results.plan, results.plan.runs(result.task)[0]
    if plan.is_finetuned(result.task):
        return plan.tasks.finetune_settings(result.task, result.model, run).recipe
    return plan.tasks.train_settings(result.task, result.model, run).recipe


def _value(value: object) -> str:
    return "not set" if value is None else "yes" if value is True else "no" if value is False else str(value)


def cost(results: Results) -> Table:
    """Return what was computed, in numbers that do not differ from run to run."""
    rows = []
    for name, metadata in results.encoders.items():
        shapes = artifacts.tensor_shapes(results.plan.encoder(name))
        millions = sum(math.prod(shape) for shape in shapes.values()) / 1e6
        curves = results.pretraining.get(name)
        seen = "" if curves is None or not len(curves) else f"{int(curves['images'].iloc[-1]):,}"
        rows.append([f"encoder {name}", f"{millions:.1f}", metadata["image_size"], seen, "", ""])
    for result in results.results:
        for run, curves in result.training.items():
            epochs = f"{int((curves['epoch'] > 0).sum()):,}" if "epoch" in curves.columns else ""
            known = "n_train" in curves.columns and len(curves) and not missing(curves["n_train"].iloc[0])
            samples = f"{int(curves['n_train'].iloc[0]):,}" if known else ""
            rows.append([f"decoder {result.task} / {result.model} / {run}", "", "", "", epochs, samples])
    columns = ["what", "million parameters", "input px", "images seen here", "epochs", "training samples"]
    note = "Hours and memory of this machine stand in results/benchmarks/cost.html: they differ from run to run."
    body = [[Cell(row[0]), *(Cell(text, numeric=True) for text in row[1:])] for row in rows]
    return Table("What was computed", columns, body, notes=[note])
