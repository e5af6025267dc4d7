"""The label rows of a dataset, whatever its layout: paths checked, columns joined to targets, all mistakes at once."""

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from visionfm.data.graders import join, join_rows
from visionfm.data.headers import read_headers
from visionfm.data.layouts import LAYOUTS
from visionfm.data.layouts.columns import TargetColumn, target_columns
from visionfm.data.layouts.outcomes import EVENT, INTERVAL
from visionfm.data.layouts.rows import LabelRow, Value, comparable
from visionfm.data.settings import LabelSettings
from visionfm.data.tables.cells import coded, is_number, number
from visionfm.data.tables.paths import Files
from visionfm.errors import Problems
from visionfm.images.identity import named_frame

SHOWN = 20
log = logging.getLogger("visionfm")


def read_labels(
    root: Path, settings: LabelSettings, listed: list[str], problems: Problems, partners: Sequence[str] = ()
) -> list[LabelRow]:
    """Return the label rows of a dataset; `listed` are paths of its images, `partners` of masks and arrays."""
    layout = LAYOUTS[settings.layout]
    if settings.labels == "none":
        rows = [LabelRow(path, path, split=layout.split_of(path)) for path in listed]
        read_headers(root, rows, settings.columns, problems)
        return rows
    rows = list(layout.rows(root, settings, listed, sorted(partners), problems))
    rows = _check_paths(root, rows, listed, settings, problems)
    read_headers(root, rows, settings.columns, problems)
    _join_targets(rows, settings, problems)
    rows = join_rows(rows, settings.columns, problems)
    for target in settings.columns.targets:
        undecided = [row for row in rows if row.values.get(target) is None and _graded(row, target)]
        if undecided:
            log.info("%s: %d images have no majority, or no consensus: unknown", target, len(undecided))
    return rows


def _graded(row: LabelRow, target: str) -> bool:
    return any(grade is not None for grade in row.grades.get(target, ()))


def _check_paths(
    root: Path, rows: list[LabelRow], listed: list[str], settings: LabelSettings, problems: Problems
) -> list[LabelRow]:
    """Return the rows whose image is there; the others are problems, or are counted where the config skips them."""
    files = Files(listed, PurePosixPath(root.absolute().as_posix()))
    seen: dict[str, str] = {}
    joined = [one for one in settings.columns.targets.values() if isinstance(one, TargetColumn) and one.aggregate]
    repeats = LAYOUTS[settings.layout].repeats or any(one.column for one in joined)
    missing: list[LabelRow] = []
    for row in rows:
        parts = row.path.split("/")
        if row.path.startswith(("/", "~")) or "\\" in row.path or ".." in parts:
            problems.add(f"{row.where}: expected a path inside the dataset's root, found {row.path!r}")
        elif named_frame(row.path, files.paths)[0] not in files.paths:
            missing.append(row)
        elif row.path in seen and not repeats:
            problems.add(f"{row.where}: {row.path} is labelled twice, first at {seen[row.path]}")
        seen.setdefault(row.path, row.where)
    if missing and settings.missing == "skip":
        log.warning("%d of %d rows are left out, for their image is not there:", len(missing), len(rows))
        for row in missing[:SHOWN]:
            log.warning("  %s: %s", row.where, row.path)
        if len(missing) > SHOWN:
            log.warning("  ... and %d more", len(missing) - SHOWN)
        return [row for row in rows if named_frame(row.path, files.paths)[0] in files.paths]
    for index, row in enumerate(missing):
        like = files.like(row.path) if index < SHOWN else ""
        problems.add(f"{row.where}: no image {row.path!r} below the root{like}")
    return rows


def _join_targets(rows: list[LabelRow], settings: LabelSettings, problems: Problems) -> None:
    """Rename columns to targets, join one-hot groups into their column's name, make numeric columns numbers."""
    targets = settings.columns.targets
    if not targets:
        return
    available = {name for row in rows[:1] for name in row.values}
    for target, source in targets.items():
        for column in target_columns(source):
            if rows and column not in available:
                problems.add(
                    f"columns.targets.{target}: no label is named {column!r}; known: {', '.join(sorted(available))}"
                )
                return
    for row in rows:
        own = {EVENT, INTERVAL, *(settings.labels if isinstance(settings.labels, list) else ())}
        joined = {name: value for name, value in row.values.items() if name in own}
        for target, source in targets.items():
            joined[target] = _value(row, target, source, problems)
        row.values = joined


def _value(row: LabelRow, target: str, source: str | list[str] | TargetColumn, problems: Problems) -> Value:
    if isinstance(source, list):
        return _one_hot(row, source, problems)
    if isinstance(source, str):
        return row.values[source]
    if not source.columns:
        column = source.column or getattr(source, row.eye or "R")
        return None if column is None else _decoded(row, row.values[column], target, source, problems)
    grades = [_decoded(row, row.values[column], target, source, problems) for column in source.columns]
    row.grades[target] = grades
    if source.consensus is not None:
        agreed = _decoded(row, row.values[source.consensus], target, source, problems)
        return grades[0] if agreed is None and len(set(map(comparable, grades))) == 1 else agreed
    return join(grades, source.aggregate or "", row.where, target, problems)


def _decoded(row: LabelRow, raw: Value, target: str, source: TargetColumn, problems: Problems) -> Value:
    """Return what a cell means, by the codes of its target where there are some."""
    if raw is None or not source.values:
        return raw
    text = f"{raw:g}" if isinstance(raw, float) else raw
    known, value = coded(text, source.values)
    if not known:
        problems.add(f"{target}: expected one of the codes {', '.join(source.values)}, found {text!r}", row.where)
    return value


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
        known = set(values) - {None}  # far fewer than rows
        numeric = all(isinstance(value, float) or is_number(str(value)) for value in known)
        said: dict[Value, Value] = {value: number(str(value)) if numeric else str(value) for value in known}
        columns[name] = [said.get(value) for value in values]
    return columns
