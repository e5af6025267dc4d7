"""Layout `forecasting`, the published system's: whether an eye got worse, and after how many days, or until when not.

Grammar: `path, label, interval`, in `training_labels.txt` and
`test_labels.txt` as its manual has it, or in `training.txt` and `test.txt` as its code reads them. The path is relative
to the dataset's folder, or to the working directory as published. An image may stand in several lines, with different
intervals.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from visionfm.data.layouts.folders import VFM_SPLITS
from visionfm.data.layouts.layout import Block, Layout, no_table
from visionfm.data.layouts.outcomes import EVENT, INTERVAL, read_days, read_event
from visionfm.data.layouts.rows import LabelRow, text_lines
from visionfm.errors import Problems


def _problems(block: Block) -> Iterator[str]:
    if isinstance(block.labels, list):
        yield "layout forecasting has the labels `event` and `interval_days`; leave `labels` away"
    yield from no_table(block)


def _files(root: Path, part: str) -> list[Path]:
    """Return both names that the published system has for a part's label file, whether they exist or not."""
    return [root / f"{part}_labels.txt", root / f"{part}.txt"]


def _rows(
    root: Path, _block: Block, listed: list[str], _partners: Sequence[str], problems: Problems
) -> Iterator[LabelRow]:
    known = set(listed)
    for part, split in VFM_SPLITS.items():
        files = [file for file in _files(root, part) if file.is_file()]
        names = " or ".join(file.name for file in _files(root, part))
        if len(files) > 1:
            problems.add(f"{root}: expected {names}, found both; keep one")
        if not files and (part == "training" or any(path.startswith(f"{part}/") for path in listed)):
            problems.add(f"{root}: {names} is missing; write it, or say `labels: none`")
        for file in files[:1]:
            yield from _lines(root, file, split, known, problems)


def _lines(root: Path, file: Path, split: str, known: set[str], problems: Problems) -> Iterator[LabelRow]:
    seen: dict[tuple[str, float], str] = {}
    for number_, line in enumerate(text_lines(file, problems), 1):
        where = f"{file.name}:{number_}"
        # A path may hold commas: the last two parts are label and interval.
        parts = [part.strip() for part in line.rsplit(",", 2)]
        if not line.strip():
            problems.add(f"{where}: expected 'path, label, interval', found a blank line")
            continue
        if len(parts) != 3 or not parts[0]:
            problems.add(f"{where}: expected 'path, label, interval', found {line!r}")
            continue
        path, event, interval = _path(parts[0], root, known), read_event(parts[1]), read_days(parts[2])
        if isinstance(event, str):
            problems.add(f"{where}: label: {event}")
        elif isinstance(interval, str):
            problems.add(f"{where}: interval: {interval}")
        elif (path, interval) in seen:
            problems.add(f"{where}: {path} at {interval:g} days is labelled twice, first at {seen[path, interval]}")
        else:
            seen[path, interval] = where
            yield LabelRow(path, where, {EVENT: event, INTERVAL: interval}, split=split)


def _path(text: str, root: Path, known: set[str]) -> str:
    """Return a path relative to the root: as it stands, or without the root in front of it, as published."""
    path = os.path.normpath(text).replace(os.sep, "/") if text.startswith("./") else text
    if path in known:
        return path
    for folder in (root, root.absolute(), Path(os.path.relpath(root))):
        head = f"{folder.as_posix().removeprefix('./').rstrip('/')}/"
        if path.startswith(head):
            return path.removeprefix(head)
    return path


FORECASTING = Layout(
    "forecasting",
    _problems,
    _rows,
    answers="outcomes",
    label_files=lambda root, _table: [file for part in VFM_SPLITS for file in _files(root, part)],
    repeats=True,
)
