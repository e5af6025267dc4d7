"""What a progression task and its datasets must have of each other; plain values, like `references`."""

from collections.abc import Iterator, Mapping
from typing import Any

from visionfm.data.layouts import answers

OUTCOME_COLUMNS = ("event", "interval_days")  # of labels.parquet, for datasets with progression


def has_outcome(dataset: Mapping[str, Any]) -> bool:
    """Tell whether a dataset says when its eyes got worse."""
    columns = dataset.get("columns")
    columns = columns if isinstance(columns, Mapping) else {}
    both = columns.get("interval") is not None and columns.get("event") is not None
    return dataset.get("labels") != "none" and (answers(dataset.get("layout")) == "outcomes" or both)


def taken_names(dataset: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (target, problem) for a table's targets that have the name of an outcome."""
    columns = dataset.get("columns")
    targets = columns.get("targets") if isinstance(columns, Mapping) else None
    for label in OUTCOME_COLUMNS if has_outcome(dataset) else ():
        if isinstance(targets, Mapping) and label in targets:
            yield label, f"{label} is made from the columns `event` and `interval`; choose another name"


def without_outcome(name: str, dataset: Mapping[str, Any]) -> str | None:
    """Return why a dataset cannot be one of a progression task, or None."""
    if not dataset or has_outcome(dataset):
        return None
    return f"{name} has no progression: layout forecasting, or a table's columns interval and event"
