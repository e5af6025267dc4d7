"""The report's subgroups: for whom does a model fail, and is it more than chance.

From `contrasts.parquet`. Invariant: a group never stands without its number of people; where nothing is told apart the
page says so, and that it is no proof of equality; groups that are too small are named, not left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionfm.figures import svg as plots
from visionfm.figures.forest import Effect, forest
from visionfm.figures.section import Section
from visionfm.figures.svg import Figure, Panel
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.binary import AT_THRESHOLD
from visionfm.metrics.catalogue import METRICS, metric_name
from visionfm.metrics.written import NO_VALUE, interval, missing, number, p_value, text_of
from visionfm.report.data import Results
from visionfm.report.tables import pivot, thresholds
from visionfm.report.words import count
from visionfm.tasks.groups import DATASET

LEVEL = 0.05
TEMPLATE = "report/sections/subgroups.html.j2"
SHOWN = ("model", "target", "dataset")  # columns where there are several
Row = dict[str, Any]


@dataclass(frozen=True)
class SubgroupsView:
    """One task: what is told apart, in words; differences as figures; groups, the tests of groupings, other metrics."""

    task: str
    smallest: int
    sentences: list[str]
    figures: list[Figure]
    table: Table
    tests: Table
    others: list[Table]


def sections(results: Results) -> list[Section]:
    """Return the section; none where no dataset tells people or images apart."""
    views = []
    for task, table in results.contrasts.items():
        rows = table[table["grouping"] != DATASET]
        if len(rows):
            views.append(_view(task, rows, results.config.tasks[task].smallest_group))
    return [Section(TEMPLATE, views, "Subgroups of the test data", "subgroups", "Subgroups")] if views else []


def _view(task: str, table: Any, smallest: int) -> SubgroupsView:
    groups, tests = table[~table["group"].isna()], table[table["group"].isna()]
    headlines = {(row["target"], row["metric"]) for row in table[table["in_family"]].to_dict("records")}
    first = [row for row in groups.to_dict("records") if _stands_for(row, headlines)]
    places = dict.fromkeys(tuple(str(row[name]) for name in SHOWN) for row in first)
    panels = [panel for place in places for panel in _panel(first, place)]
    drawn = [plots.drawn(panel, f"{task}-groups-{at}") for at, panel in enumerate(panels)]
    asked = [row for row in tests.to_dict("records") if row["in_family"]]
    return SubgroupsView(
        task=task,
        smallest=smallest,
        sentences=_sentences(first),
        figures=drawn,
        table=_groups(f"{task}: groups of the test data", first),
        tests=_tests(f"{task}: do the groups differ at all?", asked),
        others=list(_others(task, groups, headlines)),
    )


def _stands_for(row: Row, headlines: set[tuple[str, str]]) -> bool:
    """Return whether a row is of its target's headline, with the macro mean where there are classes."""
    of_class = text_of(row["class"]) in ("", "macro")
    return (row["target"], row["metric"]) in headlines and of_class and missing(row["operating_point"])


def _clear(row: Row) -> bool:
    return not missing(row["p_holm"]) and bool(row["p_holm"] < LEVEL)


def _sentences(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each group that is told apart from the rest; of two groups the first alone is named."""
    told = [
        f"{row['model']}, {row['target']}, {row['dataset']}: {metric_name(row['metric'])} "
        f"{number(row['value'], row['metric'])} where {row['grouping']} is {row['group']}, "
        f"{number(row['reference_value'], row['metric'])} in the rest; difference {_difference(row)}."
        for row in rows
        if _clear(row) and row["in_family"]
    ]
    return told or ["No group is told apart from the rest. This is no proof that there is no difference: look at the "
                    "intervals."]  # fmt: skip


def _difference(row: Row) -> str:
    limits = interval(row["difference_low"], row["difference_high"], row["metric"])
    return f"{number(row['difference'], row['metric'])} ({limits}; p after Holm {p_value(row['p_holm'])})"


def worse(results: Results) -> list[str]:
    """Return, for a caution, the groups and external datasets that are worse than the rest by more than chance."""
    return [
        f"{row['task']} / {row['model']} / {row['target']}: {_where(row)} ({metric_name(row['metric'])} "
        f"{number(row['value'], row['metric'])}, {number(row['reference_value'], row['metric'])} in {row['reference']})"
        for table in results.contrasts.values()
        for row in table[~table["group"].isna()].to_dict("records")  # of two groups either may be the worse one
        if clearly_worse(row)
    ]


def clearly_worse(row: Row) -> bool:
    """Return whether a group or external dataset is worse than the rest by more than chance."""
    return _clear(row) and row["difference"] * (-1 if METRICS[row["metric"]].lower_is_better else 1) < 0


def _where(row: Row) -> str:
    return str(row["group"]) if row["grouping"] == DATASET else f"{row['grouping']} {row['group']} of {row['dataset']}"


def _panel(rows: Sequence[Row], place: tuple[str, ...]) -> Iterator[Panel]:
    """Yield the forest plot of one model, target and dataset, where some difference is known."""
    here = [row for row in rows if tuple(row[name] for name in SHOWN) == place and not missing(row["difference"])]
    if not here:
        return
    effects = [
        Effect(
            f"{row['grouping']} {row['group']}",
            float(row["difference"]),
            None if missing(row["difference_low"]) else float(row["difference_low"]),
            None if missing(row["difference_high"]) else float(row["difference_high"]),
            _clear(row),
        )
        for row in here
    ]
    metric, unit = here[0]["metric"], text_of(here[0]["unit"])
    worse = "above 0: worse" if METRICS[metric].lower_is_better else "below 0: worse"
    axis = f"{metric_name(metric)} of the group minus the rest{f' ({unit})' if unit else ''}; {worse}"
    yield forest(effects, plots.label(", ".join(place), 40), axis)


def _heads(rows: Sequence[Row]) -> list[str]:
    return [name for name in SHOWN if len({row[name] for row in rows}) > 1]


def _groups(caption: str, rows: Sequence[Row]) -> Table:
    shown = _heads(rows)
    notes: dict[str, str] = {}
    body = []
    for row in rows:
        cells = [*(Cell(str(row[name])) for name in shown), Cell(row["grouping"]), Cell(row["group"])]
        reason = text_of(row["reason"])
        mark = notes.setdefault(reason, f"[{len(notes) + 1}]") if reason else ""
        cells += [_counts(row), _number(row, "value", "ci_low", "ci_high", mark), _number(row, "reference_value")]
        cells.append(_number(row, "difference", "difference_low", "difference_high"))
        cells += [_p(row["p"]), _p(row["p_holm"])]
        body.append(cells)
    metrics = dict.fromkeys(metric_name(row["metric"]) for row in rows)
    columns = [*shown, "", "group", "n", " / ".join(metrics), "the rest", "difference", "p", "p, Holm"]
    return Table(caption, columns, body, heads=2 + len(shown), notes=[f"{mark} {text}" for text, mark in notes.items()])


def _counts(row: Row) -> Cell:
    small = [] if missing(row["n_positive"]) else [f"{int(row['n_positive']):,}\u00a0positive"]
    small.append(count(int(row["n_subjects"]), "subject").replace(" ", "\u00a0"))
    return Cell(f"{int(row['n']):,}", "\n".join(small), numeric=True)


def _number(row: Row, name: str, low: str = "", high: str = "", mark: str = "") -> Cell:
    if missing(row[name]):
        return Cell(NO_VALUE, numeric=True, mark=mark)
    small = interval(row[low], row[high], row["metric"]) if low else ""
    unit = text_of(row["unit"])
    return Cell(number(row[name], row["metric"]) + (f" {unit}" if unit else ""), small, numeric=True, mark=mark)


def _p(value: Any) -> Cell:
    return Cell(NO_VALUE if missing(value) else p_value(value), numeric=True)


def _tests(caption: str, rows: Sequence[Row]) -> Table:
    shown = _heads(rows)
    body = [
        [
            *(Cell(str(row[name])) for name in shown),
            Cell(row["grouping"]),
            Cell(metric_name(row["metric"])),
            _p(row["p"]),
            _p(row["p_holm"]),
            Cell(text_of(row["method"]) or text_of(row["reason"])),
        ]
        for row in rows
    ]
    return Table(caption, [*shown, "grouping", "metric", "p", "p, Holm", "test"], body, heads=1 + len(shown))


def _others(task: str, table: Any, headlines: set[tuple[str, str]]) -> Iterator[Table]:
    """Yield all other metrics of the groups: what needs a yes or no by threshold, then the rest."""
    rows = table.assign(reason=table["reason"].map(_of_value))
    first = np.array([_stands_for(row, headlines) for row in rows.to_dict("records")], bool)
    several = [name for name in _heads(rows.to_dict("records")) if name != "target"]  # which the tables name anyhow
    by = [*several, "grouping", "group"]
    called = rows["metric"].isin(AT_THRESHOLD)
    if called.any():
        yield thresholds(rows[called], by, f"{task}: groups, where the answer is a yes or no")
    plain = rows[~called & ~first]
    if len(plain):
        yield pivot(plain, by, f"{task}: groups, other metrics")


def _of_value(reason: Any) -> str | None:
    """Return what a row's reason says of its value: not why nothing was compared, which stands last."""
    return text_of(reason).partition("no comparison")[0].removesuffix("; ") or None
