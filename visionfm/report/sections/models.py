"""The report's results of one model on one task: figures, tables of metrics, what only its kind shows, its training.

A kind's own figures and sections are in the module `figures` of its folder.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from visionfm.figures import svg as plots
from visionfm.figures.section import Section
from visionfm.figures.svg import Figure, Panel
from visionfm.figures.tables import Cell, Table
from visionfm.figures.training import training
from visionfm.metrics.written import NO_VALUE, number
from visionfm.project.plan import Plan
from visionfm.report.sections import efficiency
from visionfm.report.tables import metric_tables
from visionfm.report.words import listed
from visionfm.tasks.results import KindOfReport, TaskModel


class PartView(NamedTuple):
    """What is shown of the test data of one dataset, or (no heading) of training; figures and the kind's sections."""

    heading: str
    figures: list[Figure]
    sections: list[Section]


@dataclass(frozen=True)
class ModelView:
    """One model's results on a task."""

    model: str
    encoders: str
    parts: list["PartView"]
    figures_note: str
    tables: list[tuple[str, Table]]
    sections: list[Section]
    training: Table
    tried: Table | None  # what `auto` chose among


def kind_of_report(kind: str) -> KindOfReport:
    """Return what a kind of task shows."""
    return cast(KindOfReport, importlib.import_module(f"visionfm.tasks.{kind}.figures"))


def model_view(plan: Plan, result: TaskModel) -> ModelView:
    """Return a model's figures and numbers."""
    kind, runs, decoders = kind_of_report(result.block.kind), result.runs, result.decoders_of(result.runs)
    datasets = result.tested_on()
    alone = {name: result.of(name) for name in datasets}
    found = {name: kind.panels(of_dataset) for name, of_dataset in alone.items()}
    note = "" if any(found.values()) else "No test sample has a known answer, so there is no figure of the results. "
    if len(runs) > 1:
        note += f"The figures of results show {runs[0]}; the training curves show all {len(decoders)} decoders. "
    if result.decoders:
        note += "They show what the decoders of all folds answered together, each of the people whom it never saw"
        note += f", and of external data what {decoders[0]} answered. " if result.block.external else ". "
    trained = {run: chosen_rows(result.training[run]) for run in decoders if run in result.training}
    note = _choice(trained) + note
    curves = training({run: table for run, table in trained.items() if "epoch" in table.columns})
    prefix, several = f"{result.task}-{result.model}", len(datasets) > 1
    parts: list[PartView] = []
    for at, (name, of_dataset) in enumerate(alone.items()):
        panels = [_named(panel, name) if several else panel for panel in found[name]]
        heading = f"Tested on {name}" + (", external" if name in result.external else "")
        parts.append(_part(heading if several else "", panels, kind.sections(of_dataset), f"{prefix}-{at}"))
    parts.append(_part("", [curves] if curves else [], [], f"{prefix}-training"))
    encoders: dict[str, list[str]] = {}
    for modality in plan.task_modalities(result.task):
        encoders.setdefault(plan.encoder_for(result.model, modality), []).append(modality)
    return ModelView(
        model=result.model,
        encoders=listed([f"{name} ({', '.join(modalities)})" for name, modalities in encoders.items()]),
        parts=parts,
        figures_note=note,
        tables=metric_tables(result),
        sections=efficiency.sections(result),
        training=_training(result),
        tried=_tried(result),
    )


def _part(heading: str, panels: list[Panel], sections: list[Section], prefix: str) -> PartView:
    return PartView(heading, [plots.drawn(panel, f"{prefix}-{at}") for at, panel in enumerate(panels)], sections)


def _named(panel: Panel, dataset: str) -> Panel:
    """Return a panel that names its dataset, for there are several."""

    def draw(figure: Any) -> None:
        panel.draw(figure)
        axes = figure.axes[0]
        axes.set_title(f"{axes.get_title('left')}\non {plots.label(dataset)}", loc="left")

    return replace(panel, title=f"{panel.title} ({dataset})", alt=f"On {dataset}: {panel.alt}", draw=draw)


def _epoch(number: int) -> str:
    return f"epoch {number}" if number else "epoch 0: the frozen encoder with its head"


def chosen_rows(table: Any) -> Any:
    """Return the rows of the candidate that validation chose; all of them where there was no choice."""
    return table[table["chosen"]].dropna(axis="columns", how="all") if "chosen" in table.columns else table


def _in_words(candidate: str) -> str:
    return candidate.replace("-", " on ")


def _choice(tables: Mapping[str, Any]) -> str:
    """Return what validation chose in which run; nothing where there was no choice."""
    runs: dict[str, list[str]] = {}
    for run, table in tables.items():
        if "candidate" in table.columns:
            runs.setdefault(_in_words(table["candidate"].iloc[0]), []).append(run)
    chosen = listed([f"{name} ({', '.join(of)})" for name, of in runs.items()])
    return f"Head and features chosen on validation data, among those listed under Training: {chosen}. " if runs else ""


def _tried(result: TaskModel) -> Table | None:
    """Return what `auto` chose among, with the loss on validation that it chose by; None where nothing was chosen."""
    rows = []
    for run, table in result.training.items():
        if "candidate" not in table.columns:
            continue
        for one in table.groupby("candidate", sort=False).first().reset_index().to_dict("records"):
            name, loss = _in_words(one["candidate"]), Cell(number(one["candidate_loss"]), numeric=True)
            rows.append([Cell(run), Cell(name), loss, Cell("yes" if one["chosen"] else "")])
    caption = f"{result.task}, {result.model}: head and features, chosen on validation data alone"
    return Table(caption, ["run", "tried", "validation loss", "chosen"], rows) if rows else None


def _training(result: TaskModel) -> Table:
    rows = []
    for run, whole in result.training.items():
        table = chosen_rows(whole)
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
