"""The plan of progression tasks: what their one target is to labels, decoders and metrics."""

from visionfm.tasks.block import Task
from visionfm.tasks.settings import LabelledTarget, TargetSpec

EVENT = "event"  # the column of labels.parquet
CLASSES = ["stable", "progressed"]


def label_target() -> LabelledTarget:
    """Return the target as `fuse` sees it: the datasets' events."""
    return LabelledTarget(type="binary", column=EVENT, classes=CLASSES, values=[[0], [1]])


def target(task: Task) -> TargetSpec:
    """Return the target as decoders and metrics see it: a yes or no, or an event in time."""
    if task.head == "published":
        return TargetSpec(type="binary", classes=CLASSES)
    form = "cox" if task.head == "cox" else "hazard"
    return TargetSpec(type="event", form=form, intervals=task.survival.intervals, horizons=task.survival.horizons)
