"""The report's results of one model on one task: figures, tables of metrics, what only its kind shows, its training.

Draws each figure once; it goes into the page and, joined with the others, into one file. A kind's own figures and
sections are in the module `figures` of its folder.
"""

import importlib
from dataclasses import dataclass
from typing import cast

from visionfm.figures import svg as plots
from visionfm.figures.section import Section
from visionfm.figures.svg import Figure
from visionfm.figures.tables import Cell, Table
from visionfm.figures.training import training
from visionfm.metrics.written import NO_VALUE, number
from visionfm.project.plan import Plan
from visionfm.report.sections import efficiency
from visionfm.report.tables import metric_tables
from visionfm.report.words import listed
from visionfm.tasks.results import KindOfReport, TaskModel


@dataclass(frozen=True)
class ModelView:
    """One model's results on a task; `grid` is the SVG document of all its figures."""

    model: str
    encoders: str
    figures: list[Figure]
    figures_note: str
    tables: list[tuple[str, Table]]
    sections: list[Section]
    training: Table
    grid: str


def kind_of_report(kind: str) -> KindOfReport:
    """Return what a kind of task shows."""
    return cast(KindOfReport, importlib.import_module(f"visionfm.tasks.{kind}.figures"))


def model_view(plan: Plan, result: TaskModel) -> ModelView:
    """Return a model's figures and numbers."""
    kind, runs = kind_of_report(result.block.kind), result.runs
    found = kind.panels(result)
    note = "" if found else "No test sample has a known answer, so there is no figure of the results. "
    if len(runs) > 1:
        note += f"The figures of results show {runs[0]}; the training curves show all {len(runs)} runs."
    curves = training({run: result.training[run] for run in runs if run in result.training})
    drawn = [(panel, plots.single(panel)) for panel in [*found, *([curves] if curves else [])]]
    prefix = f"f-{result.task}-{result.model}"
    encoders: dict[str, list[str]] = {}
    for modality in plan.task_modalities(result.task):
        encoders.setdefault(plan.encoder_for(result.model, modality), []).append(modality)
    return ModelView(
        model=result.model,
        encoders=listed([f"{name} ({', '.join(modalities)})" for name, modalities in encoders.items()]),
        figures=[
            Figure(plots.inline(svg, f"{prefix}-{i}", panel.alt), panel.title) for i, (panel, svg) in enumerate(drawn)
        ],
        figures_note=note,
        tables=metric_tables(result),
        sections=[*kind.sections(result), *efficiency.sections(result)],
        training=_training(result),
        grid=plots.grid(drawn, f"Task {result.task}, model {result.model}"),
    )


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
