"""The plan of progression tasks: what their one target is to labels, decoders and metrics."""

from visionfm.config import settings as s
from visionfm.config.schema import Task

EVENT = "event"  # the column of labels.parquet
CLASSES = ["stable", "progressed"]


def label_target() -> s.TargetSettings:
    """Return the target as `fuse` sees it: the datasets' events."""
    return s.TargetSettings(type="binary", column=EVENT, classes=CLASSES, values=[[0], [1]])


def target(task: Task) -> s.Target:
    """Return the target as decoders and metrics see it: a yes or no, or an event in time."""
    if task.head == "published":
        return s.Target(type="binary", classes=CLASSES)
    form = "cox" if task.head == "cox" else "hazard"
    return s.Target(type="event", form=form, intervals=task.survival.intervals, horizons=task.survival.horizons)
