"""What a reader came for: each question, what models answer, side by side, and what that means in words.

Tasks that ask the same question of the same data (a frozen encoder and its fine-tuning) share one answer.
Invariant: every number stands in metrics.parquet, comparison.parquet or contrasts.parquet; no model is chosen here.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from visionfm.figures.section import Section
from visionfm.figures.svg import PALETTE
from visionfm.metrics.catalogue import METRICS, metric_name
from visionfm.metrics.written import interval, missing, number
from visionfm.report.data import Results
from visionfm.report.headlines import Headline, all_headlines, headlines
from visionfm.report.sections.comparison import best_beside, contestant, difference, is_clear, verdict
from visionfm.report.sections.models import kind_of_report
from visionfm.report.sections.subgroups import clearly_worse
from visionfm.report.words import count, headed, listed
from visionfm.tasks.groups import DATASET
from visionfm.tasks.results import MODE_NAMES, TaskModel
from visionfm.tasks.target_types import answers, type_of

FEW = 3  # names that are listed in a sentence
SAME = {"kind", "targets", "datasets", "external", "unit", "split"}  # what makes two tasks the same question


class Row(NamedTuple):
    """One model on one dataset; `words`: what its answers mean, in counts or units."""

    line: Headline
    model: str
    tested_on: str
    colour: str
    words: list[str]


class Group(NamedTuple):
    """One target: its rows on one scale, from `low` to `high`."""

    title: str
    rows: list[Row]
    low: float
    high: float

    def place(self, value: float | None) -> str:
        """Return where a value lies on the scale, in percent."""
        share = ((value or 0.0) - self.low) / (self.high - self.low or 1.0)
        return f"{100 * min(1.0, max(0.0, share)):.1f}"


class Answer(NamedTuple):
    """One question: what was asked, the answer in sentences, and its figure."""

    task: str
    title: str
    question: str
    sentences: list[str]
    groups: list[Group]


class AnswersView(NamedTuple):
    """The page's first section; `headlines` are the same rows in the order of the config."""

    answers: list[Answer]
    headlines: list[Headline]


def sections(results: Results) -> list[Section]:
    """Return the section; none where nothing but encoders was trained."""
    if not results.results:
        return []
    view = AnswersView(all_answers(results), all_headlines(results))
    return [Section("report/sections/answers.html.j2", view, "Answers on test data", "results", "Answers")]


def all_answers(results: Results) -> list[Answer]:
    """Return an answer for each question."""
    same: dict[str, list[str]] = {}
    for task, block in results.config.tasks.items():
        asked = json.dumps([block.model_dump(mode="json", include=SAME), results.plan.task_modalities(task)])
        same.setdefault(asked, []).append(task)
    return [_answer(results, tasks) for tasks in same.values()]


def _answer(results: Results, tasks: Sequence[str]) -> Answer:
    found = [one for one in results.results if one.task in tasks]
    first, block = found[0], found[0].block
    rows = [_row(results, tasks, one, line) for one in found for line in headlines(one)]
    groups = [_group(results, target, [row for row in rows if row.line.target == target]) for target in first.targets]
    spec = next(iter(first.targets.values()))
    asked = type_of(spec["type"], spec.get("form")).asks
    if len(first.targets) == 1:
        asked = f"{asked} ({answers(spec)})" if spec["type"] != "event" else asked
        asked = f"{results.title(next(iter(first.targets)))}: {asked}"
    else:
        asked = f"{len(first.targets)} targets, each {asked}" if len({s["type"] for s in first.targets.values()}) == 1 \
            else listed(map(results.title, first.targets))  # fmt: skip
    where = listed(map(results.title, block.datasets or block.external))
    return Answer(
        task=tasks[0],
        title=headed(results.title(tasks[0])),
        question=f"{headed(asked)}. From {where}, for each {block.unit}.",
        sentences=[
            *_reached(groups),
            *_compared(results, tasks),
            *_elsewhere(results, tasks),
            *_groups(results, tasks),
        ],
        groups=groups,
    )


def _row(results: Results, tasks: Sequence[str], result: TaskModel, line: Headline) -> Row:
    alone = line.dataset in result.tested_on()  # not pooled over datasets
    words = kind_of_report(result.block.kind).in_words(result.of(line.dataset), line.target) if alone else []
    tested_on = line.tested_on.replace(line.dataset, results.title(line.dataset), 1) if alone else line.tested_on
    colour = PALETTE[list(results.config.models).index(line.model) % len(PALETTE)]
    return Row(line, _model(results, tasks, line), tested_on, colour, words)


def _group(results: Results, target: str, rows: Sequence[Row]) -> Group:
    order = list(dict.fromkeys(row.tested_on for row in rows))  # models of one dataset stand side by side
    lines = [row.line for row in rows]
    ends = [end for line in lines for end in (line.value, line.low, line.high) if end is not None]
    guessing, low, high = lines[0].guessing, min([0.0, *ends]), max([0.0, *ends])
    if lines[0].bounded:
        low, high = max(low, -1.0), 1.0
        low = guessing if guessing and min(ends, default=0.0) >= guessing else low
    ordered = sorted(rows, key=lambda row: order.index(row.tested_on))
    return Group(headed(results.title(target)), ordered, low, high)


def _model(results: Results, tasks: Sequence[str], line: Headline) -> str:
    """Return a row's name: its model, and what tells its task from the others that ask the same."""
    if len(tasks) == 1:
        return results.title(line.model)
    modes = [results.config.tasks[task].training.mode for task in tasks]
    mode = results.config.tasks[line.task].training.mode
    how = MODE_NAMES[mode] if len(set(modes)) == len(modes) else results.title(line.task)
    return f"{results.title(line.model)}, {how}"


# --- in sentences ---------------------------------------------------------------------------------------------------


def _said(row: Row) -> str:
    unit = f" {row.line.unit}" if row.line.unit else ""
    return f"{row.line.text}{unit}" + (f" (95 % interval {row.line.interval})" if row.line.interval else "")


def _reached(groups: Sequence[Group]) -> Iterator[str]:
    """Yield what was reached: one value and what it means, or the ends of many."""
    known = [(group, row) for group in groups for row in group.rows if row.line.value is not None]
    if not known:
        yield "Nothing can be said: no test sample has a known answer."
        return
    line = known[0][1].line
    guessing = f" Guessing reaches {number(line.guessing, line.metric)}." if line.guessing else ""
    if len(known) == 1:
        yield f"{line.name} {_said(known[0][1])}.{guessing}"
        yield from map(headed, known[0][1].words)
    elif len({row.line.unit for _, row in known}) == 1:
        known.sort(key=lambda pair: pair[1].line.value or 0.0, reverse=not METRICS[line.metric].lower_is_better)
        best, worst = (f"{_said(row)} ({', '.join(_told_apart(known, group, row))})"
                       for group, row in (known[0], known[-1]))  # fmt: skip
        yield f"{line.name} from {worst} to {best}.{guessing}"


def _told_apart(known: Sequence[tuple[Group, Row]], group: Group, row: Row) -> Iterator[str]:
    for values, name in (
        ([one.title for one, _ in known], group.title),
        ([one.model for _, one in known], row.model),
        ([one.tested_on for _, one in known], row.tested_on),
    ):
        if len(set(values)) > 1:
            yield name


def _compared(results: Results, tasks: Sequence[str]) -> Iterator[str]:
    """Yield what stands beside each decoder and which model is better, by the corrected test."""
    rows = [
        row for task in tasks if task in results.comparisons for row in results.comparisons[task].to_dict("records")
    ]
    rows = [row for row in rows if row["in_family"]]
    beside = best_beside(rows)
    between = [row for row in rows if row["first_model"] != row["second_model"]]
    for name, of in (("a decoder and the best that stands beside it", beside), ("two models", between)):
        if len(of) == 1:
            row = of[0]
            against = f"{contestant(row, 'first')} against {contestant(row, 'second')}"
            yield f"{headed(against)}: {difference(row)}; {verdict(row)}."
        elif of:
            clear = [row for row in of if is_clear(row)]
            better = list(dict.fromkeys(contestant(row, "first" if _first(row) else "second") for row in clear))
            few = f"{listed(better)} better" if len(better) <= FEW else f"{count(len(better), 'different one')} better"
            said = f"{len(clear)} {'are' if len(clear) > 1 else 'is'} told apart by the test ({few})"
            yield f"Of {len(of)} differences between {name} {said if clear else 'none is told apart by the test'}."


def _first(row: dict[str, Any]) -> bool:
    return bool((row["difference"] > 0) != METRICS[row["metric"]].lower_is_better)


def _elsewhere(results: Results, tasks: Sequence[str]) -> Iterator[str]:
    """Yield whether it holds in other places."""
    if not any(results.config.tasks[task].external for task in tasks):
        yield "Tested on no external data: how it does in another place is not known."
        return
    tables = [results.contrasts[task] for task in tasks if task in results.contrasts]
    rows = [row for table in tables for row in table[table["grouping"] == DATASET].to_dict("records")]
    rows = [row for row in rows if row["in_family"] and not missing(row["difference"])]
    if len(rows) > 2 * FEW:
        worse = sum(map(clearly_worse, rows))
        yield f"Of {len(rows)} comparisons with external data {worse} are worse by more than chance."
        return
    for row in rows:
        apart = "worse by more than chance" if clearly_worse(row) else "not told apart from its own data as worse"
        limits = interval(row["difference_low"], row["difference_high"], row["metric"])
        yield (
            f"Elsewhere, {results.title(row['group'])}: {metric_name(row['metric'])} "
            f"{number(row['value'], row['metric'])} of {results.title(row['model'])}, difference to its own data "
            f"{number(row['difference'], row['metric'])}{f' ({limits})' if limits else ''}: {apart}."
        )


def _groups(results: Results, tasks: Sequence[str]) -> Iterator[str]:
    """Yield for whom it is worse."""
    tables = [results.contrasts[task] for task in tasks if task in results.contrasts]
    rows = [
        row
        for table in tables
        for row in table[(table["grouping"] != DATASET) & ~table["group"].isna()].to_dict("records")
    ]
    if not rows:
        return
    worse = dict.fromkeys(f"{row['grouping']} {row['group']} of {row['dataset']}" for row in rows if clearly_worse(row))
    names = listed(dict.fromkeys(row["grouping"] for row in rows))
    yield (
        f"Worse by more than chance for: {listed(list(worse)[: 2 * FEW])}."
        if worse
        else (f"By {names} no group is told apart from the rest as worse; small groups can hide much.")
    )
