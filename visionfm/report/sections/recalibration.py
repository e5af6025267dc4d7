"""The report's local recalibration curves: probabilities at an external site, by how many local people put them right.

From `recalibration.parquet`. Invariant: a number never stands without its interval or its reason, and never without how
many people were scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visionfm.figures import svg as plots
from visionfm.figures.svg import FAINT, Figure, Panel, colour, legend_below
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.catalogue import metric_name
from visionfm.metrics.written import NO_VALUE, interval, missing, number, text_of

DRAWN = {"calibration_slope": 1.0, "ece": 0.0}  # what is right
SHOWN = ("calibration_slope", "calibration_in_the_large", "ece", "auroc")
HEADS = ("model", "run", "target", "class", "dataset")
Row = dict[str, Any]


@dataclass(frozen=True)
class RecalibrationView:
    """A figure for each metric and question, and all numbers."""

    figures: list[Figure]
    table: Table


def recalibration_view(task: str, table: Any) -> RecalibrationView:
    """Return the curves of a task, of the first run of each model."""
    rows = _of_first_runs(table)
    asked = dict.fromkeys((row["target"], text_of(row["class"])) for row in rows)
    panels = [
        panel
        for target, label in asked
        for metric in DRAWN
        if (panel := _panel(metric, target, label, rows)) is not None
    ]
    drawn = [plots.drawn(panel, f"{task}-recalibration-{at}") for at, panel in enumerate(panels)]
    return RecalibrationView(drawn, recalibration_table(task, table))


def _panel(metric: str, target: str, label: str, rows: Sequence[Row]) -> Panel | None:
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if (row["metric"], row["target"], text_of(row["class"])) == (metric, target, label) and not missing(
            row["value"]
        ):
            lines.setdefault(f"{row['model']} on {row['dataset']}", []).append(row)
    if not lines:
        return None
    sizes = sorted({int(row["local_subjects"]) for line in lines.values() for row in line})
    title = f"{metric_name(metric)}: {plots.label(label or target, 22)}"

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.axhline(DRAWN[metric], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        handles = []
        for at, line in enumerate(lines.values()):
            places = [sizes.index(int(row["local_subjects"])) + 0.08 * at for row in line]
            handles += axes.plot(places, [row["value"] for row in line], marker="o", markersize=4, **colour(at))
            for place, row in zip(places, line, strict=True):
                if not missing(row["ci_low"]):
                    axes.plot([place] * 2, [row["ci_low"], row["ci_high"]], linewidth=1, color=colour(at)["color"])
        axes.set(title=title, xlabel="labelled local people", ylabel=metric_name(metric))
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        legend_below(figure, handles, list(lines))

    alt = f"{metric_name(metric)} of {label or target} by the number of labelled local people. " + "; ".join(
        f"{name}: " + ", ".join(f"{int(row['local_subjects'])} {number(row['value'], metric)}" for row in line)
        for name, line in lines.items()
    )
    return Panel("recalibration", title, alt, draw, legend_rows=len(lines))


def _of_first_runs(table: Any) -> list[Row]:
    first = table.groupby("model", sort=False)["run"].transform("first")
    found: list[Row] = table[table["run"] == first].to_dict("records")
    return found


def recalibration_table(task: str, table: Any) -> Table:
    """Return all numbers of a task, of the first run of each model."""
    rows = _of_first_runs(table)
    said = [f"Of one decoder alone, {rows[0]['run']}."] if table["run"].nunique() > 1 else []
    shown = [name for name in HEADS if len({text_of(row[name]) for row in rows}) > 1]
    places: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        key = (*(text_of(row[name]) for name in shown), int(row["local_subjects"]))
        places.setdefault(key, {})[row["metric"]] = row
    notes: dict[str, str] = {}
    body = []
    for key, of_metric in places.items():
        one = next(iter(of_metric.values()))
        local = f"{int(one['local_n']):,} images, {int(one['local_positive']):,} positive" if one["local_n"] else ""
        scored = [Cell(NO_VALUE, numeric=True)]
        if not missing(one["n"]):
            scored = [Cell(f"{int(one['n']):,}", f"{int(one['n_subjects']):,}\u00a0subjects", numeric=True)]
        cells = [*(Cell(str(text)) for text in key[:-1]), Cell(str(key[-1]), local, numeric=True), *scored]
        body.append([*cells, *(_cell(of_metric[metric], notes) for metric in SHOWN)])
    columns = [*shown, "local people", "n scored", *(metric_name(metric) for metric in SHOWN)]
    marked = [f"{mark} {text}" for text, mark in notes.items()]
    return Table(f"{task}: local recalibration", columns, body, heads=len(shown) + 1, notes=[*said, *marked])


def _cell(row: Row, notes: dict[str, str]) -> Cell:
    reason = text_of(row["reason"])
    mark = notes.setdefault(reason, f"[{len(notes) + 1}]") if reason else ""
    if missing(row["value"]):
        return Cell(NO_VALUE, numeric=True, mark=mark)
    limits = interval(row["ci_low"], row["ci_high"], row["metric"])
    return Cell(number(row["value"], row["metric"]), limits, numeric=True, mark=mark)
