"""The report's results of one model on one task: figures, tables of metrics, and its training.

Draws each figure once; it goes into the page and, joined with the others, into one file.
"""

from dataclasses import dataclass

from visionfm.evaluation import panels, panels_values, plots
from visionfm.evaluation.plots import Panel
from visionfm.evaluation.report_data import Results, TaskModel
from visionfm.evaluation.report_tables import Cell, Table, areas, metric_tables
from visionfm.evaluation.report_words import NO_VALUE, listed, number


@dataclass(frozen=True)
class Figure:
    """A figure for the page: an SVG element and its caption."""

    svg: str
    title: str


@dataclass(frozen=True)
class ModelView:
    """One model's results on a task; `grid` is the SVG document of all its figures."""

    model: str
    encoders: str
    path: str
    figures: list[Figure]
    figures_note: str
    tables: list[tuple[str, Table]]
    training: Table
    grid: str


def model_view(results: Results, result: TaskModel) -> ModelView:
    """Return a model's figures and numbers."""
    plan = results.plan
    runs = plan.runs(result.task)
    found = _panels(result, runs[0], results.config.tasks[result.task].kind)
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
        tables=metric_tables(result, runs),
        training=_training(result),
        grid=plots.grid(drawn, f"Task {result.task}, model {result.model}"),
    )


def _panels(result: TaskModel, run: str, kind: str) -> list[Panel]:
    rows = result.predictions[run]
    rows = rows[(rows["split"] == "test") & (rows["subset"] == "all")]
    found: list[Panel] = []
    for name, target in result.targets.items():
        of_target = rows[rows["target"] == name]
        if kind == "regression":
            found += panels_values.regression(of_target, name, target)
        else:
            found += panels.classification(of_target, name, target, areas(result, name, run))
    curves = panels_values.training(result.training)
    return [*found, curves] if curves else found


def _training(result: TaskModel) -> Table:
    rows = []
    for run, table in result.training.items():
        chosen = table[table["best"]]
        cells = [NO_VALUE, NO_VALUE]
        if len(chosen):
            cells = [str(int(chosen.iloc[-1]["epoch"])), number(float(chosen.iloc[-1]["validation_loss"]))]
        rows.append([Cell(run), *(Cell(text, numeric=True) for text in [str(len(table)), *cells])])
    caption = f"{result.task}, {result.model}: training"
    return Table(caption, ["run", "epochs", "epoch chosen on validation", "its validation loss"], rows)
