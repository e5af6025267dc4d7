"""What the report shows of progression: Kaplan-Meier curves, calibration, and risk groups with their log-rank test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionfm.figures.section import Section
from visionfm.figures.svg import Panel
from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import NO_VALUE, interval, missing, number
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.classification.figures import areas, classification
from visionfm.tasks.progression import ProgressionTask
from visionfm.tasks.progression.curves import NAMES, Followed, calibration, followed, joined, kaplan_meier, risk_groups
from visionfm.tasks.progression.samples import VISITS_WITH_OUTCOME
from visionfm.tasks.results import TaskModel, no_words

in_words = no_words


def panels(result: TaskModel) -> list[Panel]:
    """Return the figures of each target; the published head answers a yes-or-no question."""
    rows, run, found = result.tested(), result.runs[0], []
    for name, target in result.targets.items():
        if target["type"] == "event":
            found += _panels_of(result, run, name, target)
        else:
            found += classification(rows[rows["target"] == name], name, target, areas(result, name, run))
    return found


def sections(result: TaskModel) -> list[Section]:
    """Return the risk groups, where outcomes are known."""
    view = _view(result, result.runs[0])
    return [] if view is None else [Section("tasks/progression/section.html.j2", view)]


def trained_by(task: TaskBlock) -> str:
    """Return the head, which decides the recipe."""
    return f"Head {task.head_name()}"


def sentences(task: TaskBlock) -> list[str]:
    """Return what only a task of this kind says."""
    assert isinstance(task, ProgressionTask)
    found = []
    if task.unit == "eye" and task.survival.visits > 1:
        found.append(f"A sample is the baseline visit and up to {task.survival.visits - 1} before it.")
    if task.head != "published":
        return found
    return [
        *found,
        "It answers for each sample's own interval. Longer intervals hold more events, so that AUROC over all of them "
        "is high even where outcomes say nothing of the eye: the headline compares samples of nearly equal intervals "
        "(one quarter of a year), and what the interval alone reaches stands beside it.",
        "The published loss weighs progression ten times, so its probabilities are too high; the order of the samples "
        "does not suffer.",
    ]


@dataclass(frozen=True)
class ProgressionView:
    """What became of each risk group of one model's test samples, and the test of their difference in words."""

    groups: Table
    says: list[str]


def _samples(result: TaskModel, run: str, name: str) -> tuple[Followed, Any] | None:
    """Return the test samples of a target, all modalities together, and their risk groups; None where there are none.

    Groups are those of the decoder that was asked, by its own validation samples: of folds each has its own.
    """
    import numpy as np

    rows = result.predictions[run]
    rows = rows[(rows["target"] == name) & (rows["subset"] == "all")]
    tests, groups = [], []
    for _, of_decoder in rows.groupby("run"):
        validation, test = (followed(of_decoder[of_decoder["split"] == split]) for split in ("validation", "test"))
        if len(test.time_N) and not len(validation.time_N):
            return None
        if len(test.time_N):
            tests.append(test)
            groups.append(risk_groups(validation, test))
    return (joined(tests), np.concatenate(groups)) if tests else None


def _panels_of(result: TaskModel, run: str, name: str, target: Mapping[str, Any]) -> list[Panel]:
    """Return the figures of one event; none where no outcome is known."""
    if (samples := _samples(result, run, name)) is None:
        return []
    test, group_N = samples
    found = [kaplan_meier(name, test, group_N, target["intervals"], log_rank_says(test, group_N))]
    calibrated = calibration(name, test, target)
    return [*found, calibrated] if calibrated else found


def _view(result: TaskModel, run: str) -> ProgressionView | None:
    """Return the risk groups of a task's one target; None for other kinds, and where no outcome is known."""
    ((name, target),) = list(result.targets.items())[:1]
    if target["type"] != "event" or (samples := _samples(result, run, name)) is None:
        return None
    test, group_N = samples
    says = [
        *_baselines(result.samples),
        "Risk groups are cut at the thirds of the predicted risk of the validation samples: what became of the test "
        "samples plays no part.",
        log_rank_says(test, group_N),
    ]
    return ProgressionView(_groups(result, name, target, test, group_N), says)


def _baselines(samples: Any) -> list[str]:
    """Return how many eyes have an outcome at several visits, in words; nothing where a sample is an image."""
    if VISITS_WITH_OUTCOME not in samples.columns:
        return []
    several = int((samples[VISITS_WITH_OUTCOME] > 1).sum())
    return [
        "The baseline of an eye is its first visit with an outcome. "
        f"{several:,} of {len(samples):,} eyes (of all splits) have an outcome at several visits; the later ones are "
        "not used."
    ]


def log_rank_says(test: Followed, group_N: Any) -> str:
    """Return the log-rank test of equal hazards in words, or why there is none."""
    from visionfm.metrics.kaplan_meier import log_rank

    found = log_rank(group_N, test.time_N, test.event_N, test.subject_N)
    if isinstance(found, str):
        return found[0].upper() + found[1:] + "."
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    freedom = f"{found.freedom} degree{'s' if found.freedom > 1 else ''} of freedom"
    how = ", with a variance over subjects, for some have two eyes here" if found.robust else ""
    counts = f"n = {len(test.time_N)}, {int(test.event_N.sum())} events, {len(set(test.subject_N))} subjects"
    return f"Log-rank test of equal hazards: chi-squared {found.statistic:.1f}, {freedom}, {p} ({counts}{how})."


def _groups(result: TaskModel, name: str, target: Mapping[str, Any], test: Followed, group_N: Any) -> Table:
    import numpy as np

    from visionfm.metrics.kaplan_meier import curve

    horizons_T = np.array(target["horizons"], dtype=np.float64)
    rows = []
    for group, named in enumerate(NAMES):
        part = test.take(group_N == group)
        cells = [Cell(named), Cell(f"{len(part.time_N):,}", f"{len(set(part.subject_N))} subjects", numeric=True)]
        cells.append(Cell(f"{int(part.event_N.sum()):,}", numeric=True))
        if not len(part.time_N):
            rows.append([*cells, *(Cell(NO_VALUE, numeric=True) for _ in horizons_T)])
            continue
        found = curve(part.time_N, part.event_N, part.subject_N, horizons_T)
        for free, low, high in zip(found.free_T, found.low_T, found.high_T, strict=True):
            text = NO_VALUE if missing(float(free)) else number(1 - float(free), "auroc")
            cells.append(Cell(text, interval(1 - float(high), 1 - float(low), "auroc"), numeric=True))
        rows.append(cells)
    columns = ["predicted risk", "n", "events", *(f"progressed by {days:g} days" for days in target["horizons"])]
    notes = [
        f"{NO_VALUE} nobody of the group is followed so long. Shares are 1 - Kaplan-Meier. Their 95 % intervals are "
        "over subjects, on the scale log(-log); exact ones (beta product limits) where fewer than five subjects had "
        "the event by then, or fewer than five are known to be free of it. Fewer than five subjects have no interval."
    ]
    return Table(f"{result.task}, {result.model}: {name} by predicted risk", columns, rows, notes=notes)
