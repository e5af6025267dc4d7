"""Layout `table`: images anywhere below the root; a table of any format has a row per image.

The config names its columns; `data/tables` reads it.
"""

import logging
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from visionfm.data.layouts.columns import (
    Columns,
    Eye,
    EyeColumn,
    GroupColumn,
    SplitColumn,
    VisitColumn,
    target_columns,
)
from visionfm.data.layouts.folders import SPLIT_NAMES
from visionfm.data.layouts.layout import Block, Layout
from visionfm.data.layouts.outcomes import EVENT, INTERVAL, read_outcome
from visionfm.data.layouts.rows import Faults, LabelColumns, LabelRow, Meaning, Value, of_parts
from visionfm.data.tables.block import TableFile, table_file
from visionfm.data.tables.cells import coded, is_unknown, number, plain_number, read_eye
from visionfm.data.tables.grid import Table
from visionfm.data.tables.paths import Files, filled, is_template, template_columns
from visionfm.data.tables.reading import read_table
from visionfm.data.visits import written
from visionfm.errors import Problems

log = logging.getLogger("visionfm")


def _problems(block: Block) -> Iterator[str]:
    named = block.columns.image is not None or block.columns.images
    if (block.table is None or not named) and block.labels != "none":
        yield "layout table needs `table` and `columns: {image: ...}` (or `labels: none`)"
    if isinstance(block.labels, list):
        yield "layout table names its labels in `columns: {targets: {name: column}}`, not in `labels`"
    if block.columns.has_masks and block.images is None:
        yield "masks lie below the root too: say which files are images, as in `images: 'images/*'`"


@dataclass
class _Read:
    """The images of a table while its columns are read: the row of each, and what is wrong."""

    table: Table
    how: TableFile
    rows: Sequence[int]
    faults: Faults

    def cells(self, column: str) -> list[str]:
        """Return what stands in a column, for each image."""
        texts = self.table.cells[column]
        return texts if isinstance(self.rows, range) else [texts[row] for row in self.rows]

    def known(
        self, column: str | None, meaning: Callable[[str], Meaning | None], *, often: bool = False
    ) -> list[Meaning | None]:
        """Return what a column means; None where there is no such column, or the cell says nothing."""
        if column is None:
            return [None] * len(self.rows)

        def of_cell(cell: str) -> Meaning | None:
            text = cell.strip()
            return None if is_unknown(text, self.how) else meaning(text)

        return self.faults.read(self.cells(column), of_cell, often=often)

    def values(self, column: str) -> list[Value]:
        """Return what a column says; a number that is written with a decimal comma has a point."""
        return list(self.known(column, lambda text: plain_number(text, self.how)))


def _rows(root: Path, block: Block, listed: list[str], partners: Sequence[str], problems: Problems) -> LabelColumns:
    how = table_file(block.table) or TableFile(file="")
    file = root / how.file
    if not file.is_file():
        problems.add(f"{file}: the table is missing; `table` is relative to the dataset's root")
        return LabelColumns()
    columns = block.columns.of_table()
    table = read_table(file, how, _wanted(columns), problems)
    if table is None:
        return LabelColumns()
    place = PurePosixPath(root.absolute().as_posix())
    images, masks = Files(listed, place), Files(partners, place)
    faults = Faults(table.where)
    rows, labels = _images(table, how, columns, images, faults)
    for said in images.said():
        log.info("%s: %s", file.name, said)
    read = _Read(table, how, rows, Faults(labels.where))
    wanted = dict.fromkeys(column for target in columns.targets.values() for column in target_columns(target))
    labels.values = {column: read.values(column) for column in wanted}
    labels.subject = _subjects(read, columns.subject_column)
    if not columns.images:
        labels.eye = _eyes(read, columns)
    labels.visit = _visits(read, columns.visit_column)
    _read_outcomes(read, labels, columns)
    labels.split = _splits(read, columns)
    labels.groups = {name: _groups(read, name, group) for name, group in columns.group_columns.items()}
    if columns.has_masks or columns.points or columns.mm_per_px is not None:
        _read_dense(read, labels, columns, masks)
    faults.found += [(rows[image], problem, where) for image, problem, where in read.faults.found]
    faults.tell(problems)
    for said in masks.said():
        log.info("%s: %s", file.name, said)
    return labels


def _images(
    table: Table, how: TableFile, columns: Columns, files: Files, faults: Faults
) -> tuple[Sequence[int], LabelColumns]:
    """Return the row of each image that a table names, and the images.

    A table with one row per person has an image for each eye: as many as are there.
    """
    if not columns.images:
        paths = _paths(table, columns.image or "", files, faults)
        if None not in paths:
            return range(len(paths)), LabelColumns(path=[path for path in paths if path is not None], where=table.where)
        sides: list[tuple[Eye | None, list[str | None]]] = [(None, paths)]
    else:
        sides = []
        for eye, image in columns.images.items():
            is_there = [is_template(image) or not is_unknown(cell.strip(), how) for cell in table.cells.get(image, ())]
            sides.append((eye, _paths(table, image, files, faults, is_there)))
            if without := is_there.count(False):
                log.info("%s: %d rows have no image of the eye %s", table.name, without, eye)
    found = [
        (row, path, eye)
        for row, of_row in enumerate(zip(*(paths for _, paths in sides), strict=True))
        for path, (eye, _) in zip(of_row, sides, strict=True)
        if path is not None
    ]
    rows = array("q", (row for row, _, _ in found))
    labels = LabelColumns([path for _, path, _ in found], table.where.take(rows), eye=[eye for _, _, eye in found])
    return rows, labels


def _paths(table: Table, column: str, files: Files, faults: Faults, is_there: Sequence[bool] = ()) -> list[str | None]:
    """Return the path of each row's image: the one file that is meant, or else what is said; None with a fault.

    Also where a row `is_there` not at all.
    """

    def other(row: int, text: str | ValueError) -> str | None:
        if is_there and not is_there[row]:
            return None
        if isinstance(text, ValueError):
            faults.add(row, str(text))
            return None
        found = files.find(text)
        if isinstance(found, str):
            return found
        if found:
            faults.add(row, f"{text!r} fits {len(found)} images: {', '.join(found[:4])}; write it in full")
            return None
        return text

    known = files.paths
    if not is_template(column):
        texts = [cell.strip() for cell in table.cells[column]]
        return [text if text in known else other(row, text) for row, text in enumerate(texts)]
    names = list(dict.fromkeys(template_columns(column)))
    rows = enumerate(zip(*(table.cells[name] for name in names), strict=True))
    return [other(row, _filled(column, dict(zip(names, cells, strict=True)))) for row, cells in rows]


def _filled(template: str, cells: dict[str, str]) -> str | ValueError:
    try:
        return filled(template, cells)
    except ValueError as error:
        return error


def _subjects(read: _Read, column: str | None) -> list[str | None]:
    def meaning(cell: str) -> str:
        if is_unknown(text := cell.strip(), read.how):
            raise ValueError(f"{column}: expected a subject, found nothing")
        return text

    if column is None:
        return [None] * len(read.rows)
    return read.faults.read(read.cells(column), meaning, often=True)


def _eyes(read: _Read, columns: Columns) -> list[str | None]:
    column = columns.eye_column
    codes = columns.eye.values if isinstance(columns.eye, EyeColumn) else {}

    def meaning(text: str) -> str:
        eye = coded(text, codes)[1] or read_eye(text)
        if eye is None:
            expected, hint = _or("R or L", codes), _hint("eye", column, text)
            raise ValueError(f"{column}: expected {expected}, found {text!r}{hint}")
        return eye

    return read.known(column, meaning, often=True)


def _visits(read: _Read, column: VisitColumn | None) -> list[str | None]:
    """Return visits as they are written, dates of a known form in ISO's; None where unknown."""

    def meaning(text: str) -> str:
        if column is None or column.format is None or column.column in read.table.dated:
            return text
        try:
            return written(text, column.format)
        except ValueError:
            said = f"{column.column}: expected a date of the form {column.format}, found {text!r}"
            raise ValueError(said) from None

    return read.known(None if column is None else column.column, meaning)


def _read_outcomes(read: _Read, labels: LabelColumns, columns: Columns) -> None:
    """Take over events and intervals, where the config has columns for them."""
    if columns.event_column is None or columns.interval is None:
        return
    events, intervals = read.cells(columns.event_column), read.cells(columns.interval)
    labels.values |= {EVENT: [None] * len(labels), INTERVAL: [None] * len(labels)}
    for image, (event, interval, visit) in enumerate(zip(events, intervals, labels.visit, strict=True)):
        outcome, wrong = read_outcome(event.strip(), interval.strip(), visit, columns, read.how)
        labels.values[EVENT][image], labels.values[INTERVAL][image] = outcome
        for problem in wrong:
            read.faults.add(image, problem)


def _splits(read: _Read, columns: Columns) -> list[str | None]:
    """Return splits; of folds, of which none is said to be train, all that are not named are."""
    column = columns.split_column
    codes = columns.split.values if isinstance(columns.split, SplitColumn) else {}
    trained: set[str] = set()

    def meaning(text: str) -> str:
        split = coded(text, codes)[1] or SPLIT_NAMES.get(text.lower())
        if split is None and codes and "train" not in codes.values():
            trained.add(text)
            return "train"
        if split is None:
            expected, hint = _or("train, validation or test", codes), _hint("split", column, text)
            raise ValueError(f"{column}: expected {expected}, found {text!r}{hint}")
        return split

    splits = read.known(column, meaning, often=True)
    if trained:
        log.info("%s: %s: %s are train", read.table.name, column, ", ".join(sorted(trained)))
    return splits


def _groups(read: _Read, name: str, group: GroupColumn) -> list[Value]:
    """Return what images are told apart by: numbers where these are cut into groups, else texts; None where unknown."""

    def meaning(cell: str) -> Value:
        text = plain_number(cell, read.how)
        if group.values:
            known, value = coded(text, group.values)
            if not known:
                raise ValueError(f"{name}: expected one of the codes {', '.join(group.values)}, found {text!r}")
            return value
        if not group.cut:
            return text
        try:
            return number(text)
        except ValueError as error:
            raise ValueError(f"{group.column}: {error}") from error

    return list(read.known(group.column, meaning, often=bool(group.values)))


class _Row(NamedTuple):
    """An image's row of a table: its cells, how they are read, and where to note what is wrong."""

    image: int
    cells: dict[str, str]
    how: TableFile
    faults: Faults

    def known(self, column: str) -> str | None:
        """Return a column's text; None where the cell says nothing."""
        text = self.cells[column].strip()
        return None if is_unknown(text, self.how) else text

    def value(self, column: str) -> str | None:
        """Return the same, of a number that is written with a decimal comma one with a point."""
        text = self.known(column)
        return None if text is None else plain_number(text, self.how)


def _read_dense(read: _Read, labels: LabelColumns, columns: Columns, masks: Files) -> None:
    """Take over masks, points and the size of a pixel: row by row, for each image's files are opened anyway."""
    named = [columns.mask, *columns.masks.values(), columns.mask2, columns.fov]
    wanted = [name for mask in named if mask is not None for name in template_columns(mask)]
    wanted += [*(name for pair in columns.points.values() for name in pair), *(columns.mm_columns or ())]
    cells = {name: read.cells(name) for name in dict.fromkeys(wanted)}
    for image in range(len(labels)):
        row = _Row(image, {name: texts[image] for name, texts in cells.items()}, read.how, read.faults)
        label = labels[image]
        _read_dense_row(label, row, columns, masks)
        labels.put(image, label)


def _read_dense_row(label: LabelRow, row: _Row, columns: Columns, masks: Files) -> None:
    for role in ("mask", "mask2", "fov"):
        if (path := _mask_path(row, getattr(columns, role), masks)) is not None:
            label.partners[role] = path
    nothing = columns.no_mask == "background"
    if columns.masks:
        paths = [_mask_path(row, column, masks) for column in columns.masks.values()]
        parts = [(value, path) for value, path in enumerate(paths, 1) if path is not None]
        there = [(value, path) for value, path in parts if not nothing or path in masks.paths]
        if nothing or len(parts) == len(paths):
            label.partners["mask"] = of_parts(there)
    elif nothing and label.partners.get("mask") not in masks.paths:
        label.partners["mask"] = of_parts([])
    for name, (x, y) in columns.points.items():
        texts = [row.value(x), row.value(y)]
        if texts == [None, None]:
            label.points[name] = None
            continue
        try:
            label.points[name] = (number(texts[0] or ""), number(texts[1] or ""))
        except ValueError:
            cells = [row.cells[column].strip() for column in (x, y)]
            row.faults.add(row.image, f"{name}: expected two numbers, or both cells empty, found {cells}")
    label.mm_per_px = columns.mm_numbers
    if columns.mm_columns is not None:
        sizes = {column: _millimetres(row, column) for column in dict.fromkeys(columns.mm_columns)}
        across, down = (sizes[column] for column in columns.mm_columns)
        label.mm_per_px = (across, down) if across is not None and down is not None else None


def _millimetres(row: _Row, column: str) -> float | None:
    """Return the size of a pixel along one axis; None where it is unknown."""
    if (text := row.value(column)) is None:
        return None
    try:
        size = number(text)
    except ValueError as error:
        row.faults.add(row.image, f"{column}: {error}")
        return None
    if size <= 0:
        row.faults.add(row.image, f"{column}: expected more than 0 mm, found {text}")
        return None
    return size


def _mask_path(row: _Row, column: str | None, masks: Files) -> str | None:
    """Return the path of a mask: the one file that a column, or a template, means, or else what it says."""
    if column is None or (not is_template(column) and row.known(column) is None):
        return None
    text = _filled(column, row.cells) if is_template(column) else row.cells[column].strip()
    if isinstance(text, ValueError):
        row.faults.add(row.image, str(text))
        return None
    found = masks.find(text)
    return found if isinstance(found, str) else text


def _wanted(columns: Columns) -> list[str]:
    """Return the columns of the table that the config names."""
    visit = columns.visit_column
    wanted: list[str | None] = []
    for image in columns.images.values() or [columns.image or ""]:
        wanted += template_columns(image)
    wanted += [visit.column if visit else None, columns.subject_column, columns.eye_column, columns.split_column]
    wanted += [columns.interval, columns.event_column]
    wanted += [column for target in columns.targets.values() for column in target_columns(target)]
    wanted += [one.column for one in columns.group_columns.values()]
    for mask in (columns.mask, *columns.masks.values(), columns.mask2, columns.fov):
        wanted += template_columns(mask) if mask is not None else []
    wanted += [name for pair in columns.points.values() for name in pair]
    wanted += columns.mm_columns or ()
    return list(dict.fromkeys(name for name in wanted if name is not None))


def _or(words: str, codes: Mapping[str, object]) -> str:
    return f"{', '.join(codes)}, or {words}" if codes else words


def _hint(role: str, column: str | None, text: str) -> str:
    """Return how a code is explained, for what looks like one."""
    meaning = "R" if role == "eye" else "test"
    if len(text) > 3 or not text.isalnum() or not any(sign.isdigit() for sign in text):
        return ""
    return f"; codes are explained by `columns: {{{role}: {{column: {column}, values: {{{text}: {meaning}, ...}}}}}}`"


def _files(root: Path, table: str | TableFile | None) -> list[Path]:
    how = table_file(table)
    return [] if how is None else [root / how.file]


TABLE = Layout("table", _problems, _rows, label_files=_files)
