"""The report's results of one model on one task: figures, tables of metrics, and its training.

Draws each figure once; it goes into the page and, joined with the others, into one file.
"""

from dataclasses import dataclass
from typing import Any

from visionfm.figures import svg as plots
from visionfm.figures.svg import Figure, Panel
from visionfm.figures.training import training
from visionfm.report.data import Results, TaskModel
from visionfm.report.sections.cases import DenseView, dense_view
from visionfm.report.sections.efficiency import EfficiencyView, efficiency_view
from visionfm.report.tables import Cell, Table, areas, metric_tables
from visionfm.report.words import NO_VALUE, listed, number
from visionfm.tasks.classification import figures as panels
from visionfm.tasks.landmarks import figures as panels_points
from visionfm.tasks.maps.block import DENSE_KINDS
from visionfm.tasks.progression.section import ProgressionView, panels_of, progression_view
from visionfm.tasks.regression import figures as panels_values
from visionfm.tasks.runs import OBSERVER
from visionfm.tasks.segmentation import figures as panels_masks


@dataclass(frozen=True)
class ModelView:
    """One model's results on a task; `grid` is the SVG document of all its figures."""

    model: str
    encoders: str
    path: str
    figures: list[Figure]
    figures_note: str
    tables: list[tuple[str, Table]]
    dense: DenseView | None
    efficiency: EfficiencyView | None
    progression: ProgressionView | None
    training: Table
    grid: str


def model_view(results: Results, result: TaskModel) -> ModelView:
    """Return a model's figures and numbers."""
    plan = results.plan
    runs = plan.seed_runs(result.task)
    block = results.config.tasks[result.task]
    found = _panels(result, runs, block.kind, block.success_px)
    drawn = [(panel, plots.single(panel)) for panel in found]
    prefix = f"f-{result.task}-{result.model}"
    few = all(panel.kind == "training" for panel in found)
    note = "No test sample has a known answer, so there is no figure of the results. " if few else ""
    if len(runs) > 1:
        note += f"The figures of results show {runs[0]}; the training curves show all {len(runs)} runs."
    encoders: dict[str, list[str]] = {}
    for modality in plan.task_modalities(result.task):
        encoders.setdefault(plan.encoder_for(result.model, modality), []).append(modality)
    return ModelView(
        model=result.model,
        encoders=listed([f"{name} ({', '.join(modalities)})" for name, modalities in encoders.items()]),
        path=plan.figure(result.task, result.model),
        figures=[
            Figure(plots.inline(svg, f"{prefix}-{i}", panel.alt), panel.title) for i, (panel, svg) in enumerate(drawn)
        ],
        figures_note=note,
        tables=metric_tables(result, runs, [*plan.baseline_runs(result.task), *_observers(result)]),
        dense=dense_view(results, result),
        efficiency=efficiency_view(results, result),
        progression=progression_view(result, runs[0]),
        training=_training(result),
        grid=plots.grid(drawn, f"Task {result.task}, model {result.model}"),
    )


def _dense_panels(result: TaskModel, run: str, rows: Any, kind: str, within_px: list[float]) -> list[Panel]:
    if kind == "landmarks":
        return panels_points.points(rows, list(result.targets), within_px)
    ((name, target),) = result.targets.items()
    return panels_masks.masks(result.image_metrics, run, name, target["classes"])


def _panels(result: TaskModel, runs: list[str], kind: str, within_px: list[float]) -> list[Panel]:
    run = runs[0]
    rows = result.predictions[run]
    rows = rows[rows["split"] == "test"]
    found: list[Panel] = []
    if kind in DENSE_KINDS:
        found = _dense_panels(result, run, rows, kind, within_px)
        curves = training({run: result.training[run] for run in runs})
        return [*found, curves] if curves else found
    rows = rows[rows["subset"] == "all"]
    for name, target in result.targets.items():
        of_target = rows[rows["target"] == name]
        if kind == "regression":
            found += panels_values.regression(of_target, name, target)
        elif target["type"] == "event":
            found += panels_of(result, run, name, target)
        else:
            found += panels.classification(of_target, name, target, areas(result, name, run))
    curves = training({run: result.training[run] for run in runs if run in result.training})
    return [*found, curves] if curves else found


def _observers(result: TaskModel) -> list[str]:
    """Return the run of the second observer, where there is one."""
    return [OBSERVER] if (result.metrics["run"] == OBSERVER).any() else []


def _epoch(number: int) -> str:
    return f"epoch {number}" if number else "epoch 0: the frozen encoder with its head"


def _training(result: TaskModel) -> Table:
    rows = []
    for run, table in result.training.items():
        chosen = table[table["best"]]
        loss = number(float(chosen["validation_loss"].mean())) if chosen["validation_loss"].notna().any() else NO_VALUE
        if "parameter" in table.columns:
            texts = [f"{row['parameter']} = {row['value']:g}" for row in chosen.to_dict("records")]
            cells = [NO_VALUE, ", ".join(dict.fromkeys(texts)), loss]
        else:
            epochs = str(int((table["epoch"] > 0).sum()))
            cells = [epochs, _epoch(int(chosen.iloc[-1]["epoch"])) if len(chosen) else NO_VALUE, loss]
        rows.append([Cell(run), *(Cell(text, numeric=True) for text in cells)])
    caption = f"{result.task}, {result.model}: training"
    return Table(caption, ["run", "epochs", "chosen on validation", "its validation loss"], rows)
