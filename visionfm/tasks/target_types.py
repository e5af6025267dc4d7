"""What tables and sentences must know of a type of target: what it asks for, and what is counted of its samples."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Target = Mapping[str, Any]  # a TargetSpec as plain values


class TargetType(NamedTuple):
    """`positives` is what the samples with the finding are called, empty where none have one."""

    asks: str
    over_classes: bool = False  # its headline is the mean over its classes, `macro`
    positives: str = ""
    at_times: bool = False  # its metrics are told apart by time, not by class


TYPES = {
    "binary": TargetType("yes or no", positives="positive"),
    "multiclass": TargetType("one of several classes", over_classes=True),
    "multilabel": TargetType("any of several findings", over_classes=True),
    "value": TargetType("a measured value"),
    "event": TargetType("when it happens, as far as eyes were followed", positives="events", at_times=True),
    "mask": TargetType("a class for each pixel", over_classes=True),
    "point": TargetType("a place in the image"),
    "grades": TargetType("one of several grades"),
}


def type_of(target_type: str, form: str | None = None) -> TargetType:
    """Return what a type of target asks for; a form that has a line of its own comes first."""
    return TYPES.get(form or "", TYPES[target_type])


def answers(target: Target) -> str:
    """Return what an answer can be: classes, a unit, or intervals of time."""
    if target["type"] == "value":
        return target["unit"] or "no unit"
    if target["type"] == "event":
        return f"intervals that end after {', '.join(f'{days:g}' for days in target['intervals'])} days"
    return "px" if target["type"] == "point" else ", ".join(target["classes"])


def counts(target: Target, column: Any) -> dict[str, int]:
    """Return how many samples have each class or the event, and of how many something is known."""
    if target["type"] == "multilabel":
        known = [values for values in column if values is not None]
        found = {name: sum(values[at] == 1 for values in known) for at, name in enumerate(target["classes"])}
    elif target["type"] == "event":
        found = {"events": int((column == 1).sum())}
    else:
        found = {name: int((column == at).sum()) for at, name in enumerate(target["classes"])}
    return {**found, "known": int(column.notna().sum())}
