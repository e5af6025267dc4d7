"""Layout `table`: images anywhere below the root; a CSV, TSV, semicolon-separated or Parquet file has a row per image.

The config names its columns.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from visionfm.data.layouts.columns import Columns, VisitColumn
from visionfm.data.layouts.folders import SPLIT_NAMES
from visionfm.data.layouts.layout import Block, Layout
from visionfm.data.layouts.outcomes import read_outcome
from visionfm.data.layouts.rows import EYES, UNKNOWN, LabelRow, number, text_lines
from visionfm.data.visits import written
from visionfm.errors import Problems


def _problems(block: Block) -> Iterator[str]:
    if (block.table is None or block.columns.image is None) and block.labels != "none":
        yield "layout table needs `table` and `columns: {image: ...}` (or `labels: none`)"
    if isinstance(block.labels, list):
        yield "layout table names its labels in `columns: {targets: {name: column}}`, not in `labels`"
    if block.columns.has_masks and block.images is None:
        yield "masks lie below the root too: say which files are images, as in `images: 'images/*'`"


def _rows(
    root: Path, block: Block, _listed: list[str], _partners: Sequence[str], problems: Problems
) -> Iterator[LabelRow]:
    file = root / (block.table or "")
    if not file.is_file():
        problems.add(f"{file}: the table is missing; `table` is relative to the dataset's root")
        return
    columns = block.columns
    image = columns.image or ""
    wanted = re.findall(r"\{([^{}]+)\}", image) or [image]
    visit = columns.visit_column
    places = (columns.subject_column, columns.eye, columns.split, columns.interval, columns.event)
    wanted += [visit.column] if visit else []
    wanted += [name for name in places if name]
    for target in columns.targets.values():
        wanted += target if isinstance(target, list) else [target]
    wanted += [name for name in (columns.mask, columns.mask2, columns.fov) if name]
    wanted += [name for pair in columns.points.values() for name in pair]
    wanted += [columns.mm_per_px] if isinstance(columns.mm_per_px, str) else []
    header, records = _records(file, problems)
    for name in dict.fromkeys(wanted):
        if name not in header:
            problems.add(f"{file.name}: has no column {name!r}; its columns: {', '.join(header)}")
    if not set(wanted) <= set(header):
        return
    for where, record in records:
        row = LabelRow(_image_path(record, image), where)
        for target in columns.targets.values():
            for column in target if isinstance(target, list) else [target]:
                text = record[column].strip()
                row.values[column] = None if text in UNKNOWN else text
        row.subject = _required(record, columns.subject_column, where, problems)
        row.eye = _translated(record, columns.eye, EYES, "R or L", where, problems)
        row.visit = _visit(record, visit, where, problems)
        read_outcome(record, row, columns, problems)
        row.split = _translated(record, columns.split, SPLIT_NAMES, "train, validation or test", where, problems)
        _read_dense(row, record, columns, problems)
        yield row


def _read_dense(row: LabelRow, record: dict[str, str], columns: Columns, problems: Problems) -> None:
    """Take over masks, points and the size of a pixel."""
    for role in ("mask", "mask2", "fov"):
        column = getattr(columns, role)
        if column is not None and (path := record[column].strip()) not in UNKNOWN:
            row.partners[role] = path
    for name, (x, y) in columns.points.items():
        texts = [record[x].strip(), record[y].strip()]
        if all(text in UNKNOWN for text in texts):
            row.points[name] = None
            continue
        try:
            row.points[name] = (number(texts[0]), number(texts[1]))
        except ValueError:
            problems.add(f"{row.where}: {name}: expected two numbers, or both cells empty, found {texts}")
    size = columns.mm_per_px
    if isinstance(size, float):
        row.mm_per_px = size
    elif size is not None and (text := record[size].strip()) not in UNKNOWN:
        try:
            row.mm_per_px = number(text)
        except ValueError as error:
            problems.add(f"{row.where}: {size}: {error}")
        if row.mm_per_px is not None and row.mm_per_px <= 0:
            problems.add(f"{row.where}: {size}: expected more than 0 mm, found {text}")


def _records(file: Path, problems: Problems) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(file)
        except (OSError, ValueError) as error:
            problems.add(f"{file.name}: not a Parquet file: {str(error).splitlines()[0]}")
            return [], []
        rows = table.to_pylist()
        texts = [{name: "" if value is None else _text(value) for name, value in row.items()} for row in rows]
        return table.column_names, [(f"{file.name} row {index}", row) for index, row in enumerate(texts, 1)]
    lines = text_lines(file, problems)
    if not lines:
        return [], []
    separator = "\t" if file.suffix == ".tsv" else max(",;\t", key=lines[0].count)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] = []
    records = []
    try:
        header = [name.strip() for name in next(reader)]
        # Spreadsheets leave columns without a name behind; nothing can refer to them.
        if doubled := sorted({name for name in header if name and header.count(name) > 1}):
            problems.add(f"{file.name}:1: columns stand twice: {', '.join(doubled)}")
        for cells in reader:
            where = f"{file.name}:{reader.line_num}"
            if not any(cell.strip() for cell in cells):
                problems.add(f"{where}: expected {len(header)} cells, found a blank line")
            elif len(cells) != len(header):
                problems.add(f"{where}: expected {len(header)} cells, found {len(cells)}")
            else:
                records.append((where, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        problems.add(f"{file.name}:{reader.line_num}: {error}")
    return header, records


def _image_path(record: dict[str, str], image: str) -> str:
    """Return an image's path: a column, or a template such as `{id_code}.png`."""
    if "{" not in image:
        return record[image].strip()
    return re.sub(r"\{([^{}]+)\}", lambda found: record[found[1]].strip(), image)


def _text(value: Any) -> str:
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if whole else str(value)


def _visit(record: dict[str, str], column: VisitColumn | None, where: str, problems: Problems) -> str | None:
    """Return a visit as it is written, a date of a known form in ISO's; None where it is unknown."""
    if column is None or (text := record[column.column].strip()) in UNKNOWN:
        return None
    if column.format is None:
        return text
    try:
        return written(text, column.format)
    except ValueError:
        problems.add(f"{where}: {column.column}: expected a date of the form {column.format}, found {text!r}")
        return None


def _required(record: dict[str, str], column: str | None, where: str, problems: Problems) -> str | None:
    if column is None:
        return None
    text = record[column].strip()
    if text in UNKNOWN:
        problems.add(f"{where}: {column}: expected a subject, found nothing")
    return text


def _translated(
    record: dict[str, str], column: str | None, names: dict[str, str], expected: str, where: str, problems: Problems
) -> str | None:
    if column is None or (text := record[column].strip()) in UNKNOWN:
        return None
    if text.lower() not in names:
        problems.add(f"{where}: {column}: expected {expected}, found {text!r}")
    return names.get(text.lower())


TABLE = Layout("table", _problems, _rows, label_files=lambda root, table: [root / table] if table is not None else [])
