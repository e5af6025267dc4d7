"""Layout `table`: images anywhere below the root; a table of any format has a row per image.

The config names its columns; `data/tables` reads it.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from visionfm.data.layouts.outcomes import read_outcome
from visionfm.data.layouts.rows import LabelRow, Value, of_parts
from visionfm.data.tables.block import TableFile, table_file
from visionfm.data.tables.cells import coded, is_unknown, number, plain_number, read_eye
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


class _Row(NamedTuple):
    """A row of the table: its place, its cells, and how the table is read."""

    where: str
    cells: dict[str, str]
    how: TableFile
    problems: Problems

    def known(self, column: str | None) -> str | None:
        """Return a column's text; None where there is no such column, or the cell says nothing."""
        if column is None:
            return None
        text = self.cells[column].strip()
        return None if is_unknown(text, self.how) else text

    def value(self, column: str) -> str | None:
        """Return the same, of a number that is written with a decimal comma one with a point."""
        text = self.known(column)
        return None if text is None else plain_number(text, self.how)


def _rows(
    root: Path, block: Block, listed: list[str], partners: Sequence[str], problems: Problems
) -> Iterator[LabelRow]:
    how = table_file(block.table) or TableFile(file="")
    file = root / how.file
    if not file.is_file():
        problems.add(f"{file}: the table is missing; `table` is relative to the dataset's root")
        return
    columns = block.columns.of_table()
    visit = columns.visit_column
    table = read_table(file, how, _wanted(columns), problems)
    if table is None:
        return
    place = PurePosixPath(root.absolute().as_posix())
    images, masks = Files(listed, place), Files(partners, place)
    trained: set[str] = set()
    eyes: list[tuple[Eye | None, str]] = list(columns.images.items()) or [(None, columns.image or "")]
    without: Counter[str] = Counter()
    for where, cells in table.rows:
        row = _Row(where, cells, how, problems)
        # A table with one row per person has an image for each eye: as many rows as images are there.
        for eye, image in eyes:
            if eye is not None and not is_template(image) and row.known(image) is None:
                without[eye] += 1
                continue
            path = _image_path(row, image, images)
            if path is None:
                continue
            label = LabelRow(path, where)
            for target in columns.targets.values():
                for column in target_columns(target):
                    label.values[column] = row.value(column)
            label.subject = _required(row, columns.subject_column)
            label.eye = eye or _eye(row, columns)
            label.visit = _visit(row, visit, table.dated)
            read_outcome(cells, label, columns, how, problems)
            label.split = _split(row, columns, trained)
            label.groups = {name: _group(row, name, one) for name, one in columns.group_columns.items()}
            if columns.has_masks or columns.points or columns.mm_per_px is not None:
                _read_dense(label, row, columns, masks)
            yield label
    for side, times in without.items():
        log.info("%s: %d rows have no image of the eye %s", file.name, times, side)
    for said in (*images.said(), *masks.said()):
        log.info("%s: %s", file.name, said)
    if trained:
        log.info("%s: %s: %s are train", file.name, columns.split_column, ", ".join(sorted(trained)))


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


def _image_path(row: _Row, image: str, images: Files) -> str | None:
    """Return the path of a row's image: the one file that it means, or else what it says; None with a problem."""
    if (text := _file_name(row, image)) is None:
        return None
    found = images.find(text)
    if isinstance(found, str):
        return found
    if found:
        row.problems.add(f"{row.where}: {text!r} fits {len(found)} images: {', '.join(found[:4])}; write it in full")
        return None
    return text


def _file_name(row: _Row, column: str) -> str | None:
    """Return what a column says, or a template filled from the row; None with a problem."""
    try:
        return filled(column, row.cells) if is_template(column) else row.cells[column].strip()
    except ValueError as error:
        row.problems.add(f"{row.where}: {error}")
        return None


def _read_dense(label: LabelRow, row: _Row, columns: Columns, masks: Files) -> None:
    """Take over masks, points and the size of a pixel."""
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
            row.problems.add(f"{row.where}: {name}: expected two numbers, or both cells empty, found {cells}")
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
        row.problems.add(f"{row.where}: {column}: {error}")
        return None
    if size <= 0:
        row.problems.add(f"{row.where}: {column}: expected more than 0 mm, found {text}")
        return None
    return size


def _mask_path(row: _Row, column: str | None, masks: Files) -> str | None:
    """Return the path of a mask: the one file that a column, or a template, means, or else what it says."""
    if column is None or (not is_template(column) and row.known(column) is None):
        return None
    if (text := _file_name(row, column)) is None:
        return None
    found = masks.find(text)
    return found if isinstance(found, str) else text


def _visit(row: _Row, column: VisitColumn | None, dated: frozenset[str]) -> str | None:
    """Return a visit as it is written, a date of a known form in ISO's; None where it is unknown."""
    if column is None or (text := row.known(column.column)) is None:
        return None
    if column.format is None or column.column in dated:
        return text
    try:
        return written(text, column.format)
    except ValueError:
        row.problems.add(f"{row.where}: {column.column}: expected a date of the form {column.format}, found {text!r}")
        return None


def _required(row: _Row, column: str | None) -> str | None:
    if column is None:
        return None
    if row.known(column) is None:
        row.problems.add(f"{column}: expected a subject, found nothing", row.where)
    return row.cells[column].strip()


def _eye(row: _Row, columns: Columns) -> str | None:
    column = columns.eye_column
    if column is None or (text := row.known(column)) is None:
        return None
    codes = columns.eye.values if isinstance(columns.eye, EyeColumn) else {}
    eye = coded(text, codes)[1] or read_eye(text)
    if eye is None:
        expected = _or("R or L", codes)
        row.problems.add(f"{column}: expected {expected}, found {text!r}{_hint('eye', column, text)}", row.where)
    return eye


def _split(row: _Row, columns: Columns, trained: set[str]) -> str | None:
    """Return a row's split; of folds, of which none is said to be train, all that are not named are (`trained`)."""
    column = columns.split_column
    if column is None or (text := row.known(column)) is None:
        return None
    codes = columns.split.values if isinstance(columns.split, SplitColumn) else {}
    split = coded(text, codes)[1] or SPLIT_NAMES.get(text.lower())
    if split is None and codes and "train" not in codes.values():
        trained.add(text)
        return "train"
    if split is None:
        expected = _or("train, validation or test", codes)
        row.problems.add(f"{column}: expected {expected}, found {text!r}{_hint('split', column, text)}", row.where)
    return split


def _group(row: _Row, name: str, group: GroupColumn) -> Value:
    """Return what a row is told apart by: a number where it is cut into groups, else a text; None where unknown."""
    if (text := row.value(group.column)) is None:
        return None
    if group.values:
        known, meaning = coded(text, group.values)
        if not known:
            row.problems.add(f"{name}: expected one of the codes {', '.join(group.values)}, found {text!r}", row.where)
        return meaning
    if not group.cut:
        return text
    try:
        return number(text)
    except ValueError as error:
        row.problems.add(f"{row.where}: {group.column}: {error}")
        return None


def _or(words: str, codes: Mapping[str, object]) -> str:
    return f"{', '.join(codes)}, or {words}" if codes else words


def _hint(role: str, column: str, text: str) -> str:
    """Return how a code is explained, for what looks like one."""
    meaning = "R" if role == "eye" else "test"
    if len(text) > 3 or not text.isalnum() or not any(sign.isdigit() for sign in text):
        return ""
    return f"; codes are explained by `columns: {{{role}: {{column: {column}, values: {{{text}: {meaning}, ...}}}}}}`"


def _files(root: Path, table: str | TableFile | None) -> list[Path]:
    how = table_file(table)
    return [] if how is None else [root / how.file]


TABLE = Layout("table", _problems, _rows, label_files=_files)
