"""The report's label efficiency: how the headline metric on test data grows with the training data.

One figure per target and one table of all points, for tasks that train on parts (`train_fraction`, `shots`).
Invariant: every point has its n of training samples, its interval or the reason why not.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from visionfm.figures import svg as plots
from visionfm.figures.section import Section
from visionfm.figures.svg import PALETTE, Figure, Panel, label
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.catalogue import headline, metric_name
from visionfm.metrics.written import NO_VALUE, interval, missing, number, text_of
from visionfm.report.words import count
from visionfm.tasks.results import TaskModel, by_dataset
from visionfm.tasks.runs import family, mean_run, part_runs, pooled_run, read_run
from visionfm.tasks.target_types import type_of

SERIES = {"fraction": "a fraction of the subjects", "shots": "so many samples per class"}


@dataclass(frozen=True)
class EfficiencyView:
    """The section of one model: what it says, a figure per target, the points as a table."""

    says: str
    figures: list[Figure]
    table: Table


class Point(NamedTuple):
    """One size of the training data: the metric over seeds, and what each seed reached."""

    series: str
    name: str  # `10 %`, `5 per class`, `all`
    samples: float  # mean over seeds
    subjects: float
    row: dict[str, Any]
    by_seed: dict[str, Any]


def sections(result: TaskModel) -> list[Section]:
    """Return the section, none for a task without parts."""
    view = efficiency_view(result)
    return [] if view is None else [Section("report/sections/efficiency.html.j2", view)]


def efficiency_view(result: TaskModel) -> EfficiencyView | None:
    """Return what the section shows, None for a task without parts."""
    task = result.block
    if not part_runs(task):
        return None
    metric = headline(task.kind)
    datasets = result.tested_on()
    points = {
        f"{name}, {dataset}" if len(datasets) > 1 else name: _points(result.of(dataset), name, metric)
        for name in result.targets
        for dataset in datasets
    }
    shown = {name: [panel] for name, found in points.items() if (panel := _panel(name, found, metric))}
    figures = [
        plots.drawn(panel, f"{result.task}-{result.model}-efficiency-{at}")
        for at, panel in enumerate(panel for panels in shown.values() for panel in panels)
    ]
    says = (
        f"Decoders trained on a part of the training data: nested (a smaller part lies in every larger one), "
        f"stratified by {next(iter(result.targets))}, whole subjects; another draw for each of "
        f"{count(len(task.seeds), 'seed')}. Validation and test data are the same everywhere, so the epoch is "
        "chosen on more labels than a small part has."
    )
    return EfficiencyView(says, figures, _table(result, points, metric))


def _points(result: TaskModel, target: str, metric: str) -> list[Point]:
    rows = by_dataset(result.metrics)
    rows = rows[(rows["metric"] == metric) & (rows["split"] == "test") & (rows["target"] == target)]
    spec = result.targets[target]
    if type_of(spec["type"], spec.get("form")).over_classes:
        rows = rows[rows["class"] == "macro"]
    by_run = {row["run"]: row for row in rows.to_dict("records")}
    heads = [run for run in result.training if read_run(run).baseline is None]
    parts: dict[str, list[str]] = {}
    for run in heads:
        parts.setdefault(family(run), []).append(run)
    found = []
    for part, runs in parts.items():
        mean, reported = mean_run(runs[0]), list(dict.fromkeys(map(pooled_run, runs)))
        row = by_run.get(mean if mean in by_run else reported[0])
        if row is None:
            continue
        about = read_run(runs[0])
        sizes = [result.training[run].iloc[0] for run in runs]
        samples, subjects = (
            sum(float(size[name]) for size in sizes) / len(sizes) for name in ("n_train", "n_train_subjects")
        )
        values = {run.replace(f"-{part}", ""): by_run[run]["value"] for run in reported if run in by_run}
        seeds = values if len(reported) > 1 else {}
        name = "all"
        if about.train_fraction is not None:
            name = f"{100 * about.train_fraction:g} %"
        elif about.shots is not None:
            name = f"{about.shots} per class"
        series = ["shots"] if about.shots is not None else ["fraction"]
        used = {"shots" if read_run(run).shots is not None else "fraction" for run in heads if not read_run(run).on_all}
        for one in sorted(used) if about.on_all else series:  # all training data end every curve
            found.append(Point(one, name, samples, subjects, row, seeds))
    return sorted(found, key=lambda point: (point.series, point.samples))


def _panel(target: str, points: list[Point], metric: str) -> Panel | None:
    drawn = [point for point in points if not missing(point.row["value"])]
    if not drawn:
        return None
    names = [name for name in SERIES if any(point.series == name for point in drawn)]
    title = f"Label efficiency: {label(target, 22)}"

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        handles = []
        for at, name in enumerate(names):
            line = [point for point in drawn if point.series == name]
            x_P, y_P = [point.samples for point in line], [float(point.row["value"]) for point in line]
            colour = {"color": PALETTE[at]}
            handles += axes.plot(x_P, y_P, marker="o", markersize=4, **colour)
            for point in line:
                low, high = point.row["ci_low"], point.row["ci_high"]
                if not missing(low):
                    axes.plot([point.samples] * 2, [low, high], linewidth=1, **colour)
                values = [value for value in point.by_seed.values() if not missing(value)]
                axes.plot([point.samples] * len(values), values, ".", markersize=4, alpha=0.5, **colour)
        axes.set(xscale="log", title=title, xlabel="training samples", ylabel=metric_name(metric))
        sizes = sorted({point.samples for point in drawn})
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])  # matplotlib's own would be formulas, drawn as they are
        axes.set_xticks([], minor=True)
        figure.legend(handles, [SERIES[name] for name in names], loc="outside lower left", borderaxespad=0.2)

    alt = f"{metric_name(metric)} of {target} on test data by the number of training samples. " + "; ".join(
        f"{point.name} ({point.samples:g} samples): {number(float(point.row['value']), metric)}" for point in drawn
    )
    return Panel("label_efficiency", title, alt, draw, len(names))


def _table(result: TaskModel, points: dict[str, list[Point]], metric: str) -> Table:
    several = len(points) > 1
    body: list[list[Cell]] = []
    notes: list[str] = []
    for target, found in points.items():
        for point in dict.fromkeys((p.name, p.samples) for p in found):
            one = next(p for p in found if (p.name, p.samples) == point)
            value = NO_VALUE if missing(one.row["value"]) else number(float(one.row["value"]), metric)
            small = interval(one.row["ci_low"], one.row["ci_high"], metric)
            if reason := text_of(one.row["reason"]):
                notes.append(f"{one.name}, {target}: {reason}")
            seeds = ", ".join(
                f"{seed} {NO_VALUE if missing(v) else number(float(v), metric)}" for seed, v in one.by_seed.items()
            )
            sizes = [f"{one.samples:g}", f"{one.subjects:g}"]
            body.append(
                [
                    Cell(one.name),
                    *([Cell(target)] if several else []),
                    *(Cell(text, numeric=True) for text in sizes),
                    Cell(value, "\n".join(text for text in (small, seeds) if text), numeric=True),
                    Cell(f"{int(one.row['n']):,}", numeric=True),
                ]
            )
    columns = ["training data", *(["target"] if several else []), "training samples", "subjects", metric_name(metric)]
    caption = f"{result.task}, {result.model}: label efficiency on test data"
    return Table(caption, [*columns, "n"], body, notes=list(dict.fromkeys(notes)))
