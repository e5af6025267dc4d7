"""The label rows of a dataset, whatever its layout: paths checked, columns joined to targets, all mistakes at once."""

from collections.abc import Sequence
from pathlib import Path

from visionfm.data.layouts import LAYOUTS
from visionfm.data.layouts.outcomes import EVENT, INTERVAL
from visionfm.data.layouts.rows import LabelRow, Value, is_number, number
from visionfm.data.settings import LabelSettings
from visionfm.errors import Problems


def read_labels(
    root: Path, settings: LabelSettings, listed: list[str], problems: Problems, partners: Sequence[str] = ()
) -> list[LabelRow]:
    """Return the label rows of a dataset; `listed` are paths of its images, `partners` of masks and arrays."""
    layout = LAYOUTS[settings.layout]
    if settings.labels == "none":
        return [LabelRow(path, path, split=layout.split_of(path)) for path in listed]
    rows = list(layout.rows(root, settings, listed, sorted(partners), problems))
    _check_paths(rows, set(listed), settings, problems)
    _join_targets(rows, settings, problems)
    return rows


def _check_paths(rows: list[LabelRow], listed: set[str], settings: LabelSettings, problems: Problems) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        parts = row.path.split("/")
        if row.path.startswith(("/", "~")) or "\\" in row.path or ".." in parts:
            problems.add(f"{row.where}: expected a path inside the dataset's root, found {row.path!r}")
        elif row.path not in listed:
            problems.add(f"{row.where}: no image {row.path!r} below the root")
        elif row.path in seen and not LAYOUTS[settings.layout].repeats:
            problems.add(f"{row.where}: {row.path} is labelled twice, first at {seen[row.path]}")
        seen.setdefault(row.path, row.where)


def _join_targets(rows: list[LabelRow], settings: LabelSettings, problems: Problems) -> None:
    """Rename columns to targets, join one-hot groups into their column's name, make numeric columns numbers."""
    targets = settings.columns.targets
    if not targets:
        return
    available = {name for row in rows[:1] for name in row.values}
    for target, columns in targets.items():
        for column in columns if isinstance(columns, list) else [columns]:
            if rows and column not in available:
                problems.add(
                    f"columns.targets.{target}: no label is named {column!r}; known: {', '.join(sorted(available))}"
                )
                return
    for row in rows:
        own = {EVENT, INTERVAL, *(settings.labels if isinstance(settings.labels, list) else ())}
        joined = {name: value for name, value in row.values.items() if name in own}
        for target, columns in targets.items():
            joined[target] = _one_hot(row, columns, problems) if isinstance(columns, list) else row.values[columns]
        row.values = joined


def _one_hot(row: LabelRow, columns: list[str], problems: Problems) -> Value:
    """Return the name of the column that is 1; None (unknown) where all are 0 or any is empty."""
    texts = [row.values[column] for column in columns]
    try:
        values = [None if text is None else number(str(text)) for text in texts]
    except ValueError as error:
        problems.add(f"{row.where}: one-hot {', '.join(columns)}: {error}")
        return None
    if any(value not in (0, 1, None) for value in values) or values.count(1) > 1:
        problems.add(f"{row.where}: one-hot {', '.join(columns)}: expected at most a single 1, found {values}")
        return None
    return columns[values.index(1)] if 1 in values else None


def as_columns(rows: list[LabelRow]) -> dict[str, list[Value]]:
    """Return each label as a column: of numbers where every known value is one, else of text."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    columns: dict[str, list[Value]] = {}
    for name in names:
        values = [row.values.get(name) for row in rows]
        numeric = all(value is None or isinstance(value, float) or is_number(value) for value in values)
        columns[name] = [None if value is None else number(str(value)) if numeric else str(value) for value in values]
    return columns
