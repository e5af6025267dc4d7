"""How many images, eyes and people came in, were left out and why, and were used: per task, and its figure.

Invariant: every image of a task's datasets is counted once, as unreadable, as without an answer, as in no sample, or as
used in one split.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from visionfm.figures.svg import FAINT, INK, Panel, label
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import NO_VALUE
from visionfm.report.data import Results
from visionfm.report.words import SPLITS, count
from visionfm.tasks.results import TaskModel

FOLDED, EXTERNAL = "Tested, each in one fold", "External test"
NO_ANSWER, NO_SAMPLE = "no answer to the task's question is known", "in no sample of the task"
BOX_IN, TEXT_PT, TRUNK = 1.0, 6.5, 0.36  # height of a step, size of its text, where the steps stand from left to right


@dataclass(frozen=True)
class Count:
    """Images, eyes (None where none is known) and people; of samples, how many they make."""

    images: int
    eyes: int | None = None
    subjects: int | None = None
    samples: int | None = None

    @property
    def text(self) -> str:
        """Return it in words."""
        parts = [count(self.images, "image")]
        parts += [] if self.samples is None else [count(self.samples, "sample")]
        parts += [] if self.eyes is None else [count(self.eyes, "eye")]
        parts += [] if self.subjects is None else [count(self.subjects, "subject")]
        return ", ".join(parts)


@dataclass(frozen=True)
class Flow:
    """One task's images from what was found to what was used; `left_out`: reason -> images, in the order of steps."""

    task: str
    unit: str
    found: Count
    unreadable: dict[str, int]
    readable: Count
    left_out: dict[str, int]
    used: Count
    parts: dict[str, Count]  # split -> what it has


def flows(results: Results) -> list[Flow]:
    """Return the flow of each task, of the samples of its first model: all models have the same."""
    first: dict[str, TaskModel] = {}
    for result in results.results:
        first.setdefault(result.task, result)
    return [_flow(results, result) for result in first.values()]


def _flow(results: Results, result: TaskModel) -> Flow:
    import pandas as pd

    names = [*result.block.datasets, *result.block.external]
    tables = [one for one in results.datasets if one.name in names]
    images = pd.concat([one.images.assign(dataset=one.name) for one in tables], ignore_index=True)
    labels = pd.concat([one.labels.assign(dataset=one.name) for one in tables], ignore_index=True)
    bad = Counter(images.loc[images["status"] != "ok", "status"])
    uses = parts(result)
    rows = [
        (image["dataset"], image["path"], use, sample, person)
        for use, samples in uses.items()
        for sample, person, of in zip(samples["sample_id"], samples["subject_id"], samples["images"], strict=True)
        for image in of
    ]
    used = pd.DataFrame(rows, columns=["dataset", "path", "part", "sample", "group_id"])
    # In a layout of visits or intervals a row of labels is not an image: each image counts once.
    about = labels.drop_duplicates(["dataset", "path"])
    used = used.merge(about[["dataset", "path", "eye"]], on=["dataset", "path"], how="left")
    rest = about.merge(used[["dataset", "path"]].drop_duplicates(), on=["dataset", "path"], how="left", indicator=True)
    rest = rest[rest["_merge"] == "left_only"]
    answered = _answered(result, rest)
    left = {NO_ANSWER: int((~answered).sum()), NO_SAMPLE: int(answered.sum())}
    return Flow(
        task=result.task,
        unit=result.block.unit,
        found=Count(len(images)),
        unreadable=dict(bad.most_common()),
        readable=_count(about),
        left_out={reason: number for reason, number in left.items() if number},
        used=_count(used),
        parts={part: _count(used[used["part"] == part]) for part in uses},
    )


def _uses(result: TaskModel) -> list[str]:
    """Return what each sample is used for: its split, its place in cross-validation, or external test data."""
    folded = result.samples["fold"].notna() if "fold" in result.samples.columns else None
    outside = result.samples["dataset"].isin(result.external)
    return [
        EXTERNAL if external else FOLDED if fold else SPLITS[split]
        for split, external, fold in zip(
            result.samples["split"], outside, outside if folded is None else folded, strict=True
        )
    ]


def parts(result: TaskModel) -> dict[str, Any]:
    """Return what samples are used for -> their rows, in the order of a paper."""
    named = _uses(result)
    order = [*SPLITS.values(), FOLDED, EXTERNAL]
    return {use: result.samples[[name == use for name in named]] for use in order if use in named}


def _answered(result: TaskModel, labels: Any) -> Any:
    """Return which rows of labels know an answer to some target of a task."""
    import pandas as pd

    columns = [str(name) for target in result.block.labels().values() for name in target.columns()]
    there = [name for name in dict.fromkeys(columns) if name in labels.columns]
    return labels[there].notna().any(axis=1) if there else pd.Series(False, index=labels.index)


def _count(rows: Any) -> Count:
    eyes = rows[rows["eye"].notna()]
    known = len(eyes) > 0
    return Count(
        images=len(rows.drop_duplicates(["dataset", "path"])),
        eyes=len(eyes.drop_duplicates(["group_id", "eye"])) if known else None,
        subjects=int(rows["group_id"].nunique()),
        samples=int(rows["sample"].nunique()) if "sample" in rows.columns else None,
    )


def table(flow: Flow) -> Table:
    """Return a task's flow as a table: a row per step, split and reason."""
    rows: list[tuple[str, Count]] = [("found", flow.found)]
    rows += [(f"left out: unreadable, {reason}", Count(number)) for reason, number in flow.unreadable.items()]
    rows += [("readable", flow.readable)]
    rows += [(f"left out: {reason}", Count(number)) for reason, number in flow.left_out.items()]
    rows += [("used", flow.used), *((f"used: {part}", number) for part, number in flow.parts.items())]
    body = [
        [Cell(name), *(_cell(value) for value in (of.images, of.samples, of.eyes, of.subjects))] for name, of in rows
    ]
    caption = f"{flow.task}: from the images that were found to those that were used (a sample is one {flow.unit})"
    return Table(caption, ["step", "images", "samples", "eyes", "subjects"], body)


def _cell(value: int | None) -> Cell:
    return Cell(NO_VALUE if value is None else f"{value:,}", numeric=True)


def panel(found: list[Flow]) -> Panel:
    """Return the figure: a chart per task, one below the other."""
    heights = [len(_steps(flow)) + 1 for flow in found]

    def draw(figure: Any) -> None:
        for axes, flow in zip(
            figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0], found, strict=True
        ):
            _draw(axes, flow)

    alt = " ".join(f"{flow.task}: found {flow.found.text}; used {flow.used.text}." for flow in found)
    return Panel("flow", "Participants and images", alt, draw, body_in=BOX_IN * sum(heights))


def _steps(flow: Flow) -> list[tuple[str, dict[str, int]]]:
    """Return the boxes from above to below, each with what was left out after it."""
    return [
        (f"Found\n{flow.found.text}", flow.unreadable),
        (f"Readable\n{flow.readable.text}", flow.left_out),
        (f"Used\n{flow.used.text}", {}),
    ]


def _draw(axes: Any, flow: Flow) -> None:
    steps, parts = _steps(flow), list(flow.parts.items())
    rows = len(steps) + 1
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1), title=f"Task {label(flow.task)}")
    at = [1 - (place + 0.5) / rows for place in range(rows)]
    for place, (text, left) in enumerate(steps):
        _box(axes, TRUNK, at[place], text)
        start = at[place] - _half(2, rows)
        if place + 1 < len(steps):
            _arrow(axes, (TRUNK, start), (TRUNK, at[place + 1] + _half(2, rows)))
        if left:
            between = (at[place] + at[place + 1]) / 2
            said = "\n".join(f"{label(reason, 44)}: {number:,}" for reason, number in left.items())
            _arrow(axes, (TRUNK, between), (0.56, between))
            axes.text(0.57, between, f"Left out\n{said}", va="center", fontsize=TEXT_PT, color=INK)
    for place, (part, number) in enumerate(parts):
        text = f"{part}\n" + number.text.replace(", ", "\n")
        middle = (place + 0.5) / len(parts)
        _arrow(axes, (TRUNK, start), (middle, at[-1] + _half(text.count("\n") + 1, rows)))
        _box(axes, middle, at[-1], text)


def _half(lines: int, rows: int) -> float:
    """Return half the height of a box, as a part of the axes."""
    return (lines * 1.2 * TEXT_PT + 1.4 * TEXT_PT) / 2 / 72 / (0.8 * BOX_IN) / rows


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=look)


def _box(axes: Any, x: float, y: float, text: str) -> None:
    look = {"boxstyle": "square,pad=0.5", "facecolor": "white", "edgecolor": FAINT, "linewidth": 0.8}
    axes.text(x, y, text, ha="center", va="center", fontsize=TEXT_PT, color=INK, bbox=look)
