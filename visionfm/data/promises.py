"""What a dataset's block promises: label columns, masks, points, outcomes.

Works on plain values that may be invalid elsewhere, so that the problems of tasks that need them are reported together
with the schema's.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from visionfm.data.layouts import LAYOUTS, answers

OUTCOME_COLUMNS = ("event", "interval_days")  # of labels.parquet, for datasets with progression
Raw = Mapping[str, Any]


def block_of(raw: Raw, name: str) -> Raw:
    """Return a block inside a block; an empty one where there is none."""
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def list_of(value: object) -> list[Any]:
    """Return a list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def label_names(dataset: Raw) -> set[str] | None:
    """Return the label columns that a dataset will have, None when its block is invalid."""
    targets = block_of(dataset, "columns").get("targets", {})
    labels = dataset.get("labels")
    if answers(dataset.get("layout")) in ("masks", "points"):
        return set()
    if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
        own = labels
    elif labels is None:
        layout = LAYOUTS.get(str(dataset.get("layout")))
        own = [*layout.default_labels] if layout is not None and not targets else []
    elif labels == "none":
        return set()
    else:
        return None
    own = [*own, "event"] if has_outcome(dataset) else own
    return {*own, *targets} if isinstance(targets, Mapping) else None


def taken_names(dataset: Raw) -> Iterator[tuple[str, str]]:
    """Yield (target, problem) for a table's targets that have the name of an outcome."""
    targets = block_of(dataset, "columns").get("targets")
    for label in OUTCOME_COLUMNS if has_outcome(dataset) else ():
        if isinstance(targets, Mapping) and label in targets:
            yield label, f"{label} is made from the columns `event` and `interval`; choose another name"


def has_outcome(dataset: Raw) -> bool:
    """Tell whether a dataset says when its eyes got worse."""
    columns = block_of(dataset, "columns")
    both = columns.get("interval") is not None and columns.get("event") is not None
    return dataset.get("labels") != "none" and (answers(dataset.get("layout")) == "outcomes" or both)


def has_masks(dataset: Raw) -> bool:
    """Tell whether a dataset has masks."""
    columns = block_of(dataset, "columns")
    masks = answers(dataset.get("layout")) == "masks" or bool(columns.get("mask") or columns.get("masks"))
    return masks and dataset.get("labels") != "none"


def point_names(dataset: Raw) -> list[str]:
    """Return the points that a dataset marks."""
    points = list(block_of(block_of(dataset, "columns"), "points"))
    return points + (list_of(dataset.get("labels")) if answers(dataset.get("layout")) == "points" else [])
