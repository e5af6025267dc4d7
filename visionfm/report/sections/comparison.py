"""The report's comparisons: which model is better, and whether the decoder is better than the baselines beside it.

A forest plot per target and a table per task, from `comparison.parquet`.
Invariant: a difference never stands without its n; what was not compared has its reason in words; the best baseline is
named for every decoder, whether it flatters the decoder or not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from visionfm.figures import svg as plots
from visionfm.figures.forest import Effect, forest
from visionfm.figures.section import Section
from visionfm.figures.svg import Figure, Panel
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.catalogue import METRICS, metric_name
from visionfm.metrics.written import NO_VALUE, at_point, interval, missing, number, p_value, text_of
from visionfm.report.data import Results
from visionfm.report.words import count
from visionfm.tasks.classification import BASELINES
from visionfm.tasks.runs import OBSERVER

LEVEL = 0.05
TEMPLATE = "report/sections/comparison.html.j2"
Row = dict[str, Any]


@dataclass(frozen=True)
class ComparisonView:
    """One task: a sentence per decoder and its best baseline, a figure per target, the differences, those of others."""

    task: str
    sentences: list[str]
    figures: list[Figure]
    table: Table
    others: Table | None


def sections(results: Results) -> list[Section]:
    """Return the section; none where no task has anything to compare."""
    views = [_view(task, table.to_dict("records")) for task, table in results.comparisons.items() if len(table)]
    return [Section(TEMPLATE, views, "Comparisons on test data", "comparisons", "Comparisons")] if views else []


def _view(task: str, rows: list[Row]) -> ComparisonView:
    first = [row for row in rows if row["in_family"]]
    others = [row for row in rows if not row["in_family"] and text_of(row["class"]) in ("", "macro")]
    panels = [panel for target in dict.fromkeys(row["target"] for row in first) for panel in _panel(target, first)]
    drawn = [plots.drawn(panel, f"{task}-comparison-{at}") for at, panel in enumerate(panels)]
    return ComparisonView(
        task=task,
        sentences=[_sentence(row) for row in best_beside(first)],
        figures=drawn,
        table=_table(f"{task}: differences, first minus second", first, corrected=True),
        others=_table(f"{task}: other differences, first minus second", others, corrected=False) if others else None,
    )


# --- in words -------------------------------------------------------------------------------------------------------


def contestant(row: Row, side: str) -> str:
    """Return what stands on a side of a comparison: a model, its baseline, or the second observer."""
    model, head = row[f"{side}_model"], row[f"{side}_head"]
    if head == OBSERVER:
        return "the second observer"
    return f"{head} on {model}" if head in BASELINES else str(model)


def best_beside(rows: Sequence[Row]) -> list[Row]:
    """Return the best that stands beside each decoder, for each target and dataset: a baseline or the observer."""
    beside: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        of_decoder = row["first_head"] not in BASELINES and row["first_model"] == row["second_model"]
        if of_decoder and row["second_head"] in (*BASELINES, OBSERVER):
            beside.setdefault((row["first_model"], row["target"], row["dataset"]), []).append(row)
    return [max(found, key=_goodness) for found in beside.values()]


def beside_headline(results: Results, task: str, model: str, target: str, dataset: str) -> str:
    """Return what stands beside a decoder's headline on a dataset: its best baseline."""
    if task not in results.comparisons:
        return ""
    rows = [row for row in results.comparisons[task].to_dict("records") if row["in_family"]]
    asked = (model, target, dataset)
    found = [row for row in best_beside(rows) if (row["first_model"], row["target"], row["dataset"]) == asked]
    return "; ".join(f"{_values(row)[1]} of {_beside(row)}" for row in found)


def better_baselines(results: Results) -> list[str]:
    """Return, for a caution, where a baseline's value is better than the decoder's."""
    return [
        f"{row['task']} / {row['first_model']} / {row['target']} on {row['dataset']} ({metric_name(row['metric'])} "
        f"{_values(row)[1]} of {row['second_head']}, {_values(row)[0]} of the decoder)"
        for table in results.comparisons.values()
        for row in best_beside([row for row in table.to_dict("records") if row["in_family"]])
        if row["second_head"] in BASELINES and not missing(row["difference"]) and _gain(row) < 0
    ]


def _goodness(row: Row) -> float:
    if missing(row["second_value"]):
        return float("-inf")
    return float(row["second_value"]) * (-1 if METRICS[row["metric"]].lower_is_better else 1)


def _sentence(row: Row) -> str:
    metric, unit = row["metric"], text_of(row["unit"])
    where = f"{row['first_model']}, {row['target']}, {row['dataset']}"
    ours, theirs = _values(row)
    unit = f" {unit}" if unit else ""
    said = f"{where}: {metric_name(metric)} {ours}{unit} of the decoder, {theirs}{unit} of {_beside(row)}"
    return f"{said}; {difference(row)}: {verdict(row)}."


def _values(row: Row) -> list[str]:
    values = [row[f"{side}_value"] for side in _SIDES]
    return [NO_VALUE if missing(value) else number(value, row["metric"]) for value in values]


def _gain(row: Row) -> float:
    """Return how much better the first is: the difference, turned round where lower is better."""
    return float(row["difference"]) * (-1 if METRICS[row["metric"]].lower_is_better else 1)


_SIDES = ("first", "second")


def _beside(row: Row) -> str:
    return "the second observer" if row["second_head"] == OBSERVER else f"its best baseline, {row['second_head']}"


def difference(row: Row) -> str:
    """Return the difference with its interval and p value, in words."""
    if missing(row["difference"]):
        return "no difference can be told"
    text = f"difference {number(row['difference'], row['metric'])}"
    if missing(row["p"]):
        return text
    p = f"p {p_value(row['p'])}"
    if not missing(row["p_holm"]):
        p += f", after Holm {p_value(row['p_holm'])}"
    return f"{text} ({interval(row['ci_low'], row['ci_high'], row['metric'])}; {p})"


def is_clear(row: Row) -> bool:
    """Return whether the corrected test tells the two apart."""
    return not missing(row["p_holm"]) and bool(row["p_holm"] < LEVEL)


def verdict(row: Row) -> str:
    """Return what the test says, and which value is the higher one where it says nothing."""
    if missing(row["difference"]):
        return text_of(row["reason"]) or "no comparison"
    side = "first" if _gain(row) > 0 else "second"
    if is_clear(row):
        return f"{contestant(row, side)} is better"
    if missing(row["p"]):
        return text_of(row["reason"])
    reached = f"; the better value is that of {contestant(row, side)}" if _gain(row) else ""
    return f"these {count(int(row['n_subjects']), 'subject')} do not tell them apart{reached}"


# --- figure and table -----------------------------------------------------------------------------------------------


def _panel(target: str, rows: Sequence[Row]) -> Iterator[Panel]:
    """Yield the forest plot of a target, where some difference is known."""
    known = [row for row in rows if row["target"] == target and not missing(row["difference"])]
    if not known:
        return
    several = len({row["dataset"] for row in known}) > 1
    effects = [
        Effect(
            f"{_pair(row)}, {row['dataset']}" if several else _pair(row),
            float(row["difference"]),
            None if missing(row["ci_low"]) else float(row["ci_low"]),
            None if missing(row["ci_high"]) else float(row["ci_high"]),
            is_clear(row),
        )
        for row in known
    ]
    metric, unit = known[0]["metric"], text_of(known[0]["unit"])
    better = "below 0: the first is better" if METRICS[metric].lower_is_better else "above 0: the first is better"
    axis = f"difference in {metric_name(metric)}{f' ({unit})' if unit else ''}; {better}"
    yield forest(effects, f"Differences: {target}", axis)


def _pair(row: Row) -> str:
    return f"{contestant(row, 'first')} minus {contestant(row, 'second')}"


def _table(caption: str, rows: Sequence[Row], corrected: bool) -> Table:
    """Return a row per difference; `corrected`: with p after Holm."""
    shown = [name for name in ("target", "dataset", "metric") if len({row[name] for row in rows}) > 1]
    notes: dict[str, str] = {}
    body = []
    for row in rows:
        cells = [Cell(contestant(row, "first")), Cell(contestant(row, "second"))]
        cells += [Cell(_metric(row) if name == "metric" else row[name]) for name in shown]
        cells += [*(_value(row, side) for side in _SIDES), _difference(row, notes)]
        cells.append(Cell(NO_VALUE if missing(row["p"]) else p_value(row["p"]), numeric=True))
        if corrected:
            cells.append(Cell(NO_VALUE if missing(row["p_holm"]) else p_value(row["p_holm"]), numeric=True))
        small = [count(int(row["n_subjects"]), "subject")]
        small += [f"{int(row['n_left_out']):,} left out"] if row["n_left_out"] else []
        body.append([*cells, Cell(f"{int(row['n']):,}", "\n".join(small), numeric=True)])
    if "metric" not in shown and rows:
        caption = f"{caption}: {_metric(rows[0])}"
    values = ["first's value", "second's value", "difference", "p", *(["p, Holm"] if corrected else []), "n"]
    columns = ["first", "second", *shown, *values]
    methods = sorted({text_of(row["method"]) for row in rows} - {""})
    said = [f"Method: {', '.join(methods)}."] if methods else []
    return Table(caption, columns, body, heads=2, notes=[*said, *(f"{mark} {text}" for text, mark in notes.items())])


def _metric(row: Row) -> str:
    name, point = metric_name(row["metric"]), text_of(row["operating_point"])
    macro = " (macro)" if text_of(row["class"]) == "macro" else ""
    return f"{name}{macro}{at_point(row['metric'], point)}"


def _value(row: Row, side: str) -> Cell:
    value, seeds, spread = (row[f"{side}_{name}"] for name in ("value", "seeds", "seed_sd"))
    if missing(value):
        return Cell(NO_VALUE, numeric=True)
    small = "" if missing(spread) else f"SD {number(spread, row['metric'])}\n{seeds} runs"
    return Cell(number(value, row["metric"]), small, numeric=True)


def _difference(row: Row, notes: dict[str, str]) -> Cell:
    reason = text_of(row["reason"])
    mark = notes.setdefault(reason, f"[{len(notes) + 1}]") if reason else ""
    if missing(row["difference"]):
        return Cell(NO_VALUE, numeric=True, mark=mark)
    metric, unit = row["metric"], text_of(row["unit"])
    text = number(row["difference"], metric) + (f" {unit}" if unit else "")
    return Cell(text, interval(row["ci_low"], row["ci_high"], metric), numeric=True, mark=mark)
