"""The labels of a dataset, whatever its layout: paths checked, columns joined to targets, all mistakes at once."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from visionfm.data.graders import join, join_rows
from visionfm.data.headers import read_headers
from visionfm.data.layouts import LAYOUTS
from visionfm.data.layouts.columns import TargetColumn, target_columns
from visionfm.data.layouts.outcomes import EVENT, INTERVAL
from visionfm.data.layouts.rows import Faults, LabelColumns, LabelRow, Value, comparable
from visionfm.data.settings import LabelSettings
from visionfm.data.tables.cells import coded, is_number, number
from visionfm.data.tables.paths import Files
from visionfm.errors import Problems
from visionfm.images.identity import named_frame

SHOWN = 20
log = logging.getLogger("visionfm")


def read_labels(
    root: Path, settings: LabelSettings, listed: list[str], problems: Problems, partners: Sequence[str] = ()
) -> LabelColumns:
    """Return the labels of a dataset; `listed` are paths of its images, `partners` of masks and arrays."""
    layout = LAYOUTS[settings.layout]
    if settings.labels == "none":
        labels = LabelColumns(path=list(listed), where=listed, split=[layout.split_of(path) for path in listed])
        read_headers(root, labels, settings.columns, problems)
        return labels
    labels = LabelColumns.of(layout.rows(root, settings, listed, sorted(partners), problems))
    labels = _check_paths(root, labels, listed, settings, problems)
    read_headers(root, labels, settings.columns, problems)
    _join_targets(labels, settings, problems)
    labels = join_rows(labels, settings.columns, problems)
    for target, grades in labels.grades.items():
        pairs = zip(labels.values.get(target, []), grades)  # noqa: B905 - a target without its column has no values
        undecided = sum(value is None and any(grade is not None for grade in said) for value, said in pairs)
        if undecided:
            log.info("%s: %d images have no majority, or no consensus: unknown", target, undecided)
    return labels


def _check_paths(
    root: Path, labels: LabelColumns, listed: list[str], settings: LabelSettings, problems: Problems
) -> LabelColumns:
    """Return the rows whose image is there; the others are problems, or are counted where the config skips them."""
    files = Files(listed, PurePosixPath(root.absolute().as_posix()))
    joined = [one for one in settings.columns.targets.values() if isinstance(one, TargetColumn) and one.aggregate]
    repeats = LAYOUTS[settings.layout].repeats or any(one.column for one in joined)
    known, seen, missing = files.paths, dict[str, int](), list[int]()
    plain = (path in known and "\\" not in path and ".." not in path and path[0] not in "/~" for path in labels.path)
    if all(plain) and (repeats or len(set(labels.path)) == len(labels)):
        return labels
    for at, path in enumerate(labels.path):
        if path.startswith(("/", "~")) or "\\" in path or ".." in path.split("/"):
            problems.add(f"{labels.where[at]}: expected a path inside the dataset's root, found {path!r}")
        elif named_frame(path, known)[0] not in known:
            missing.append(at)
        elif seen.setdefault(path, at) != at and not repeats:
            problems.add(f"{labels.where[at]}: {path} is labelled twice, first at {labels.where[seen[path]]}")
        seen.setdefault(path, at)
    if missing and settings.missing == "skip":
        log.warning("%d of %d rows are left out, for their image is not there:", len(missing), len(labels))
        for at in missing[:SHOWN]:
            log.warning("  %s: %s", labels.where[at], labels.path[at])
        if len(missing) > SHOWN:
            log.warning("  ... and %d more", len(missing) - SHOWN)
        there = [at for at, path in enumerate(labels.path) if named_frame(path, known)[0] in known]
        return labels.take(there)
    for number_, at in enumerate(missing):
        like = files.like(labels.path[at]) if number_ < SHOWN else ""
        problems.add(f"{labels.where[at]}: no image {labels.path[at]!r} below the root{like}")
    return labels


def _join_targets(labels: LabelColumns, settings: LabelSettings, problems: Problems) -> None:
    """Rename columns to targets, join one-hot groups into their column's name, make numeric columns numbers."""
    targets = settings.columns.targets
    if not targets or not len(labels):
        return
    for target, source in targets.items():
        for column in target_columns(source):
            if column not in labels.values:
                known = ", ".join(sorted(labels.values))
                problems.add(f"columns.targets.{target}: no label is named {column!r}; known: {known}")
                return
    own = {EVENT, INTERVAL, *(settings.labels if isinstance(settings.labels, list) else ())}
    joined = {name: values for name, values in labels.values.items() if name in own}
    faults = Faults(labels.where)
    for target, source in targets.items():
        if isinstance(source, list):
            cells = zip(*(labels.values[column] for column in source), strict=True)
            joined[target] = faults.read(cells, _one_hot(source))
        elif isinstance(source, str):
            joined[target] = labels.values[source]
        elif source.columns:
            joined[target] = _graded(labels, target, source, faults)
        else:
            joined[target] = faults.read(_of_eye(labels, source), _decoded(target, source), often=True)
    faults.tell(problems)
    labels.values = joined


def _of_eye(labels: LabelColumns, source: TargetColumn) -> Iterable[Value]:
    """Return a target's cells: of its column, or of that of each image's eye."""
    if source.column is not None:
        return labels.values[source.column]
    none: list[Value] = [None] * len(labels)
    right, left = (labels.values[one] if one is not None else none for one in (source.R, source.L))
    pairs = zip(labels.eye, right, left, strict=True)
    return (of_left if eye == "L" else of_right for eye, of_right, of_left in pairs)


def _graded(labels: LabelColumns, target: str, source: TargetColumn, faults: Faults) -> list[Value]:
    """Return the one answer of each image's graders, and note what each has said."""
    meaning = _decoded(target, source)
    read = [faults.read(labels.values[column], meaning, often=True) for column in source.columns]
    labels.grades[target] = [list(grades) for grades in zip(*read, strict=True)]
    if source.consensus is None:
        return faults.read(
            zip(*read, strict=True), lambda grades: join(grades, source.aggregate or "", target), often=True
        )
    agreed = faults.read(labels.values[source.consensus], meaning, often=True)
    pairs = zip(labels.grades[target], agreed, strict=True)
    return [
        grades[0] if answer is None and len(set(map(comparable, grades))) == 1 else answer for grades, answer in pairs
    ]


def _decoded(target: str, source: TargetColumn) -> Callable[[Value], Value]:
    """Return what tells the meaning of a cell, by the codes of its target where there are some."""

    def meaning(raw: Value) -> Value:
        if raw is None or not source.values:
            return raw
        text = f"{raw:g}" if isinstance(raw, float) else raw
        known, value = coded(text, source.values)
        if not known:
            raise ValueError(f"{target}: expected one of the codes {', '.join(source.values)}, found {text!r}")
        return value

    return meaning


def _one_hot(columns: list[str]) -> Callable[[Sequence[Value]], Value]:
    """Return what tells the name of the column that is 1; None (unknown) where all are 0 or any is empty."""
    name = f"one-hot {', '.join(columns)}"

    def meaning(texts: Sequence[Value]) -> Value:
        try:
            values = [None if text is None else number(str(text)) for text in texts]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if any(value not in (0, 1, None) for value in values) or values.count(1) > 1:
            raise ValueError(f"{name}: expected at most a single 1, found {values}")
        return columns[values.index(1)] if 1 in values else None

    return meaning


def as_columns(rows: Iterable[LabelRow]) -> dict[str, list[Value]]:
    """Return each label as a column: of numbers where every known value is one, else of text."""
    columns: dict[str, list[Value]] = {}
    for name, values in LabelColumns.of(rows).values.items():
        known = set(values) - {None}  # far fewer than rows
        numeric = all(isinstance(value, float) or is_number(str(value)) for value in known)
        said: dict[Value, Value] = {value: number(str(value)) if numeric else str(value) for value in known}
        columns[name] = [said.get(value) for value in values]
    return columns
