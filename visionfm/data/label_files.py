"""Reads label files of each layout into rows, with the place of every mistake; all mistakes of a dataset at once.

Grammar of `vfm` (the published system): `relpath;v1,v2,...`, the path relative to the dataset's folder. A value is a number, or empty (or
`null`) for unknown. Tables: CSV, TSV, semicolon-separated or Parquet.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionfm.config.settings import LabelSettings
from visionfm.data.layouts import SPLIT_NAMES, VFM_SPLITS, vfm_folders
from visionfm.errors import DataError, Problems

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
UNKNOWN = ("", "null", "NULL", "NA", "NaN", "nan")
EYES = {"r": "R", "od": "R", "right": "R", "re": "R", "l": "L", "os": "L", "left": "L", "le": "L"}
Value = float | str | None


@dataclass
class LabelRow:
    """One labelled image; `where` is file and line for messages, `values` label -> raw value."""

    path: str
    where: str
    values: dict[str, Value] = field(default_factory=dict)
    subject: str | None = None
    eye: str | None = None
    visit: str | None = None
    split: str | None = None


def read_labels(root: Path, settings: LabelSettings, listed: list[str], problems: Problems) -> list[LabelRow]:
    """Return the label rows of a dataset; `listed` are the paths of its images."""
    if settings.labels == "none":
        return [LabelRow(path, path, split=_folder_split(path, settings.layout)) for path in listed]
    if settings.layout == "vfm":
        rows = list(_vfm(root, settings, listed, problems))
    elif settings.layout == "imagefolder":
        rows = list(_imagefolder(settings, listed, problems))
    else:
        rows = list(_table(root, settings, problems))
    _check_paths(rows, set(listed), problems)
    _join_targets(rows, settings, problems)
    return rows


def number(text: str) -> float:
    """Return a finite number of ASCII digits; raise ValueError for anything else."""
    if not NUMBER.fullmatch(text) or abs(value := float(text)) == float("inf"):
        raise ValueError(f"expected a number, found {text!r}")
    return value


def _folder_split(path: str, layout: str) -> str | None:
    """Return the split that the folders of an unlabelled image say: of a vfm or train/val/test tree."""
    parts = path.split("/")[:-1]
    if layout == "vfm":
        return next((VFM_SPLITS[part] for part in parts[:2] if part in VFM_SPLITS), None)
    return SPLIT_NAMES.get(parts[0].lower()) if layout == "imagefolder" and parts else None


# --- vfm ------------------------------------------------------------------------------------------------------------


def _vfm(root: Path, settings: LabelSettings, listed: list[str], problems: Problems) -> Iterator[LabelRow]:
    names = settings.labels if isinstance(settings.labels, list) else []
    for folder in vfm_folders(root):
        inside = "" if folder == root else f"{folder.name}/"
        for part, split in VFM_SPLITS.items():
            file = folder / f"{part}_labels.txt"
            if file.is_file():
                yield from _vfm_file(file, inside, split, names, problems)
            elif any(path.startswith(f"{inside}{part}/") for path in listed):
                problems.add(f"{file}: missing, but {inside}{part}/ has images; write it, or say `labels: none`")


def _vfm_file(file: Path, inside: str, split: str, names: list[str], problems: Problems) -> Iterator[LabelRow]:
    for line_number, line in enumerate(_lines(file, problems), 1):
        where = f"{file.name if not inside else inside + file.name}:{line_number}"
        path, semicolon, rest = line.partition(";")
        texts = [text.strip() for text in rest.split(",")]
        if not line.strip():
            problems.add(f"{where}: expected 'path;values', found a blank line")
        elif not semicolon or ";" in rest:
            problems.add(f"{where}: expected one ';' between path and values, found {line.count(';')}")
        elif len(texts) != len(names):
            problems.add(f"{where}: expected {len(names)} values ({', '.join(names[:3])}, ...), found {len(texts)}")
        else:
            row = LabelRow(inside + path.strip(), where, split=split)
            for name, text in zip(names, texts, strict=True):
                try:
                    row.values[name] = None if text in UNKNOWN else number(text)
                except ValueError as error:
                    problems.add(f"{where}: {name}: {error}")
            yield row


def _lines(file: Path, problems: Problems) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8")
        return []
    if "\0" in text:
        problems.add(f"{file}: holds NUL bytes; it is no text file")
        return []
    return text.splitlines() if not text.endswith("\n\n") else text.rstrip("\n").splitlines()


# --- image folders --------------------------------------------------------------------------------------------------


def _imagefolder(settings: LabelSettings, listed: list[str], problems: Problems) -> Iterator[LabelRow]:
    tops = {path.split("/")[0] for path in listed}
    divided = bool(tops) and all(top.lower() in SPLIT_NAMES for top in tops)
    name = settings.labels[0] if isinstance(settings.labels, list) else "label"
    for path in listed:
        parts = path.split("/")
        if len(parts) < (3 if divided else 2):
            problems.add(f"{path}: expected {'split/' if divided else ''}class/file, found no class folder")
            continue
        split = SPLIT_NAMES[parts[0].lower()] if divided else None
        yield LabelRow(path, path, {name: parts[1 if divided else 0]}, split=split)


# --- tables ---------------------------------------------------------------------------------------------------------


def _table(root: Path, settings: LabelSettings, problems: Problems) -> Iterator[LabelRow]:
    file = root / (settings.table or "")
    if not file.is_file():
        problems.add(f"{file}: the table is missing; `table` is relative to the dataset's root")
        return
    columns = settings.columns
    image = columns.image or ""
    wanted = re.findall(r"\{([^{}]+)\}", image) or [image]
    wanted += [name for name in (columns.subject, columns.eye, columns.visit, columns.split) if name]
    for target in columns.targets.values():
        wanted += target if isinstance(target, list) else [target]
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
        row.subject = _required(record, columns.subject, where, problems)
        row.eye = _translated(record, columns.eye, EYES, "R or L", where, problems)
        row.visit = record[columns.visit].strip() or None if columns.visit else None
        row.split = _translated(record, columns.split, SPLIT_NAMES, "train, validation or test", where, problems)
        yield row


def _records(file: Path, problems: Problems) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        rows = table.to_pylist()
        texts = [{name: "" if value is None else _text(value) for name, value in row.items()} for row in rows]
        return table.column_names, [(f"{file.name} row {index}", row) for index, row in enumerate(texts, 1)]
    lines = _lines(file, problems)
    if not lines:
        return [], []
    separator = "\t" if file.suffix == ".tsv" else max(",;\t", key=lines[0].count)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header = [name.strip() for name in next(reader)]
    # Spreadsheets leave columns without a name behind; nothing can refer to them.
    if doubled := sorted({name for name in header if name and header.count(name) > 1}):
        problems.add(f"{file.name}:1: columns stand twice: {', '.join(doubled)}")
    records = []
    try:
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
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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


# --- all layouts ----------------------------------------------------------------------------------------------------


def _check_paths(rows: list[LabelRow], listed: set[str], problems: Problems) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        parts = row.path.split("/")
        if row.path.startswith(("/", "~")) or "\\" in row.path or ".." in parts:
            problems.add(f"{row.where}: expected a path inside the dataset's root, found {row.path!r}")
        elif row.path not in listed:
            problems.add(f"{row.where}: no image {row.path!r} below the root")
        elif row.path in seen:
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
                problems.add(f"columns.targets.{target}: no label is named {column!r}; known: {', '.join(sorted(available))}")
                return
    for row in rows:
        own = set(settings.labels) if isinstance(settings.labels, list) else set()
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
        numeric = all(value is None or isinstance(value, float) or NUMBER.fullmatch(value) for value in values)
        columns[name] = [None if value is None else number(str(value)) if numeric else str(value) for value in values]
    return columns


def unreadable_labels(dataset: str) -> Problems:
    """Return the collector for a dataset's label problems."""
    return Problems(DataError, f"labels of {dataset}")
