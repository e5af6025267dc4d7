"""Reads progression labels: whether an eye got worse (event), and after how many days, or until when it had not.

Grammar of layout `forecasting` (the published system): `path, label, interval`, in `training_labels.txt` and
`test_labels.txt` as its manual has it, or in `training.txt` and `test.txt` as its code reads them. The path is relative
to the dataset's folder, or to the working directory as published. An image may stand in several lines, with different
intervals. In tables, `interval` is a number of days, or the date of the follow-up where `visit` is a date.
"""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from visionfm.data.layouts.folders import VFM_SPLITS, forecasting_files
from visionfm.data.layouts.rows import UNKNOWN, LabelRow, is_number, text_lines
from visionfm.data.settings import LabelSettings
from visionfm.errors import Problems

EVENT, INTERVAL = "event", "interval_days"
EVENTS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "False": 0.0, "True": 1.0}


def read_forecasting(root: Path, settings: LabelSettings, listed: list[str], problems: Problems) -> Iterator[LabelRow]:
    """Yield the labelled images of a `forecasting` dataset; mistakes go to `problems`."""
    known = set(listed)
    for part, split in VFM_SPLITS.items():
        files = [file for file in forecasting_files(root, part) if file.is_file()]
        names = " or ".join(file.name for file in forecasting_files(root, part))
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
        path, event, interval = _path(parts[0], root, known), _event(parts[1]), _days(parts[2])
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


def _event(text: str) -> float | str:
    """Return 0 or 1, or what is wrong."""
    return EVENTS.get(text, f"expected 0 or 1, found {text!r}")


def _days(text: str) -> float | str:
    """Return an interval, or what is wrong."""
    if not is_number(text):
        return f"expected a number of days, found {text!r}"
    days = float(text)
    return days if days >= 0 else f"expected a number of days from 0 on, found {text}: before the baseline"


def read_outcome(record: dict[str, str], row: LabelRow, settings: LabelSettings, problems: Problems) -> None:
    """Take event and interval of a table's row, where the config has columns for them; both, or neither is known."""
    columns = settings.columns
    if columns.interval is None or columns.event is None:
        return
    texts = [record[name].strip() for name in (columns.event, columns.interval)]
    row.values |= {EVENT: None, INTERVAL: None}
    unknown = [text in UNKNOWN for text in texts]
    if all(unknown):
        return
    if any(unknown):
        missing, there = (columns.event, columns.interval) if unknown[0] else (columns.interval, columns.event)
        problems.add(
            f"{row.where}: {there} without {missing}: expected both, or neither (an eye that stayed as it was has event"
            " 0 and the days for which it is known)"
        )
        return
    event, interval = _event(texts[0]), _until(texts[1], row.visit)
    for name, value in ((columns.event, event), (columns.interval, interval)):
        if isinstance(value, str):
            problems.add(f"{row.where}: {name}: {value}")
    if not isinstance(event, str) and not isinstance(interval, str):
        row.values |= {EVENT: event, INTERVAL: interval}


def _until(text: str, visit: str | None) -> float | str:
    """Return the days from a visit to the follow-up: a number of them, or its date; or what is wrong."""
    follow_up = _date(text)
    if follow_up is None:
        return _days(text)
    baseline = _date(visit or "")
    if baseline is None:
        return f"a date needs a date in the column of `visit`, found {visit!r}"
    days = (follow_up - baseline).days
    return float(days) if days >= 0 else f"the follow-up {text} lies before its baseline {visit}"


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if "-" in text[1:] else None
    except ValueError:
        return None
