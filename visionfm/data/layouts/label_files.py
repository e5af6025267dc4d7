"""Reads label files of each layout into rows, with the place of every mistake; all mistakes of a dataset at once.

Grammar of `vfm` (the published system): `relpath;v1,v2,...`, the path relative to the dataset's folder. A value is a
number, or empty (or `null`) for unknown. Tables: CSV, TSV, semicolon-separated or Parquet. `forecasting`: see
`label_progression`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from visionfm.data.layouts.folders import PARTNERED, SPLIT_NAMES, VFM_SPLITS, vfm_folders
from visionfm.data.layouts.forecasting import EVENT, INTERVAL, read_forecasting
from visionfm.data.layouts.partners import partnered_rows
from visionfm.data.layouts.rows import UNKNOWN, LabelRow, Value, is_number, number, text_lines
from visionfm.data.layouts.table import read_table
from visionfm.data.settings import LabelSettings
from visionfm.errors import DataError, Problems


def read_labels(
    root: Path, settings: LabelSettings, listed: list[str], problems: Problems, partners: Sequence[str] = ()
) -> list[LabelRow]:
    """Return the label rows of a dataset; `listed` are paths of its images, `partners` of masks and arrays."""
    if settings.labels == "none":
        return [LabelRow(path, path, split=_folder_split(path, settings.layout)) for path in listed]
    if settings.layout == "vfm":
        rows = list(_vfm(root, settings, listed, problems))
    elif settings.layout == "imagefolder":
        rows = list(_imagefolder(settings, listed, problems))
    elif settings.layout in PARTNERED:
        rows = list(partnered_rows(settings, listed, sorted(partners), problems))
    elif settings.layout == "forecasting":
        rows = list(read_forecasting(root, settings, listed, problems))
    else:
        rows = list(read_table(root, settings, problems))
    _check_paths(rows, set(listed), settings, problems)
    _join_targets(rows, settings, problems)
    return rows


def _folder_split(path: str, layout: str) -> str | None:
    """Return the split that the folders of an unlabelled image say: of a vfm or train/val/test tree."""
    parts = path.split("/")[:-1]
    if layout == "vfm" or layout in PARTNERED:
        return next((VFM_SPLITS[part] for part in parts[:2] if part in VFM_SPLITS), None)
    return SPLIT_NAMES.get(parts[0].lower()) if layout == "imagefolder" and parts else None


# --- vfm ------------------------------------------------------------------------------------------------------------


def _vfm(root: Path, settings: LabelSettings, listed: list[str], problems: Problems) -> Iterator[LabelRow]:
    names = settings.labels if isinstance(settings.labels, list) else []
    for folder in vfm_folders(root):
        inside = "" if folder == root else f"{folder.name}/"
        if not any((folder / name).exists() for part in VFM_SPLITS for name in (part, f"{part}_labels.txt")):
            problems.add(f"{folder}: expected training/ and test/ in each folder below a vfm root, found neither")
        for part, split in VFM_SPLITS.items():
            file = folder / f"{part}_labels.txt"
            if file.is_file():
                yield from _vfm_file(file, inside, split, names, problems)
            elif any(path.startswith(f"{inside}{part}/") for path in listed):
                problems.add(f"{file}: missing, but {inside}{part}/ has images; write it, or say `labels: none`")


def _vfm_file(file: Path, inside: str, split: str, names: list[str], problems: Problems) -> Iterator[LabelRow]:
    for line_number, line in enumerate(text_lines(file, problems), 1):
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


# --- image folders --------------------------------------------------------------------------------------------------


def _imagefolder(settings: LabelSettings, listed: list[str], problems: Problems) -> Iterator[LabelRow]:
    tops = {path.split("/")[0] for path in listed}
    named = sorted(top for top in tops if top.lower() in SPLIT_NAMES)
    divided = bool(named)
    if named and len(named) < len(tops):
        others = ", ".join(sorted(tops - set(named))[:5])
        problems.add(f"expected split folders only, or class folders only; found {', '.join(named)} beside {others}")
        return
    name = settings.labels[0] if isinstance(settings.labels, list) else "label"
    for path in listed:
        parts = path.split("/")
        if len(parts) < (3 if divided else 2):
            problems.add(f"{path}: expected {'split/' if divided else ''}class/file, found no class folder")
            continue
        split = SPLIT_NAMES[parts[0].lower()] if divided else None
        yield LabelRow(path, path, {name: parts[1 if divided else 0]}, split=split)


# --- all layouts ----------------------------------------------------------------------------------------------------


def _check_paths(rows: list[LabelRow], listed: set[str], settings: LabelSettings, problems: Problems) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        parts = row.path.split("/")
        if row.path.startswith(("/", "~")) or "\\" in row.path or ".." in parts:
            problems.add(f"{row.where}: expected a path inside the dataset's root, found {row.path!r}")
        elif row.path not in listed:
            problems.add(f"{row.where}: no image {row.path!r} below the root")
        elif row.path in seen and settings.layout != "forecasting":
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


def unreadable_labels(dataset: str) -> Problems:
    """Return the collector for a dataset's label problems."""
    return Problems(DataError, f"labels of {dataset}")
