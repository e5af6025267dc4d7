"""Layout `vfm`, the published system's: a tree of splits, and beside each training/ and test/ its label file.

Grammar of `training_labels.txt` and `test_labels.txt`: `relpath;v1,v2,...`, the path relative to the dataset's folder.
A value is a number, or empty (or `null`) for unknown.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from visionfm.data.layouts.folders import VFM_SPLITS, vfm_folders, vfm_parts, vfm_split
from visionfm.data.layouts.layout import Block, Layout, no_table
from visionfm.data.layouts.rows import LabelRow, text_lines
from visionfm.data.tables.block import TableFile
from visionfm.data.tables.cells import UNKNOWN, number
from visionfm.errors import Problems


def _problems(block: Block) -> Iterator[str]:
    if block.labels is None:
        yield "layout vfm needs `labels`: names for the values of a line, or `none`"
    yield from no_table(block)


def _label_files(root: Path, _table: str | TableFile | None) -> list[Path]:
    if not root.is_dir():
        return []
    return [folder / f"{part}_labels.txt" for folder in vfm_folders(root) for part in VFM_SPLITS]


def _rows(
    root: Path, block: Block, listed: list[str], _partners: Sequence[str], problems: Problems
) -> Iterator[LabelRow]:
    names = block.labels if isinstance(block.labels, list) else []
    for folder in vfm_folders(root):
        inside = "" if folder == root else f"{folder.name}/"
        if not any((folder / name).exists() for part in VFM_SPLITS for name in (part, f"{part}_labels.txt")):
            problems.add(f"{folder}: expected training/ and test/ in each folder below a vfm root, found neither")
        for part, split in VFM_SPLITS.items():
            file = folder / f"{part}_labels.txt"
            if file.is_file():
                yield from _lines(file, inside, split, names, problems)
            elif any(path.startswith(f"{inside}{part}/") for path in listed):
                problems.add(f"{file}: missing, but {inside}{part}/ has images; write it, or say `labels: none`")


def _lines(file: Path, inside: str, split: str, names: list[str], problems: Problems) -> Iterator[LabelRow]:
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


VFM = Layout("vfm", _problems, _rows, image_folders=vfm_parts, label_files=_label_files, split_of=vfm_split)
