"""Files that a table names by a number alone: `RET{ID:03d}OD.jpg`, `{data:04d}/{data:04d}.jpg`, folders of slices.

A reading counts where most rows of the table have a file of that name; nothing is taken from names of files alone.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import translate
from pathlib import PurePosixPath
from typing import NamedTuple

from visionfm.data.tables.grid import Table
from visionfm.data.tables.paths import filled

FEWEST_SLICES = 3  # of a folder that is a volume
COMPARED = 3  # rows whose names are compared, before all are
SIDES = re.compile(r"(?<![A-Za-z])(?:OD|OS|right|left)(?![A-Za-z])", re.IGNORECASE)
EYE = {"od": "R", "right": "R", "os": "L", "left": "L"}


class Reading(NamedTuple):
    """What the numbers of a column name: files or folders of slices, by a template for each eye or for both."""

    column: str
    files: dict[str | None, str]  # eye (None: not said) -> template
    folders: list[str]  # templates


def readings(table: Table, name: str, paths: Sequence[str]) -> Reading | str | None:
    """Return what numbers of a table name; a question where it could be several things, None where it is nothing."""
    pictures = Counter(PurePosixPath(path).parent.as_posix() for path in paths)
    volumes = {folder for folder, count in pictures.items() if count >= FEWEST_SLICES}
    for column in filter(None, table.header):
        numbers = _numbers(table, column)
        if numbers is None:
            continue
        folders = _templates(column, numbers, volumes)
        inside = {folder for folder in volumes for one in folders if _fits(one, folder)}
        files = _templates(column, numbers, {path for path in paths if str(PurePosixPath(path).parent) not in inside})
        if not files and not folders:
            continue
        own = {match.lower() for match in SIDES.findall(PurePosixPath(name).stem)}
        if len(own) == 1:
            files = [one for one in files if {side.lower() for side in SIDES.findall(one)} == own] or files
        by_eye = _by_eye(files)
        if by_eye is None or len(folders) > 1:
            return f"the numbers of {column!r} in {name} fit {', '.join([*files, *folders])}"
        return Reading(column, by_eye, folders)
    return None


def glob_of_template(template: str) -> str:
    """Return the glob of all files that a template can name."""
    literal = [re.sub(r"([\[*?])", r"[\1]", part) for part in re.split(r"\{[^{}]*\}", template)]
    return "*".join(literal)


def _numbers(table: Table, column: str) -> dict[int, Mapping[str, str]] | None:
    """Return the rows by the one number in a column; None where cells have none or several, or two rows the same."""
    found: dict[int, Mapping[str, str]] = {}
    for cells in table.rows():
        runs = re.findall(r"[0-9]+", re.sub(r"\.0+$", "", cells[column].strip()))
        if len(runs) != 1 or len(runs[0]) > 9 or int(runs[0]) in found:
            return None
        found[int(runs[0])] = cells
    return found if len(found) > 1 else None


def _templates(column: str, numbers: Mapping[int, Mapping[str, str]], names: set[str]) -> list[str]:
    """Return the templates under which most rows have a name, those first that the fewest signs make."""
    by_number: dict[int, list[str]] = defaultdict(list)
    compared = sorted(numbers)[:COMPARED]
    for one in names:
        for number in {int(run) for run in re.findall(r"[0-9]{1,9}", one)} & set(compared):
            by_number[number].append(one)
    times = Counter(template for number in compared for template in {
        _template(column, number, one) for one in by_number[number]})  # fmt: skip
    likely = [template for template, count in times.items() if count == len(compared)]
    most = [
        one for one in likely if sum(filled(one, dict(row)) in names for row in numbers.values()) > len(numbers) / 2
    ]
    return sorted(most)


def _template(column: str, number: int, name: str) -> str:
    """Return a name with a number in it as a template; padded as the number stands there."""

    def place(run: re.Match[str]) -> str:
        text = run[0]
        if int(text) != number:
            return text
        return f"{{{column}:0{len(text)}d}}" if text.startswith("0") else f"{{{column}:d}}"

    return re.sub(r"[0-9]{1,9}", place, name)


def _fits(template: str, name: str) -> bool:
    return re.fullmatch(translate(glob_of_template(template)), name) is not None


def _by_eye(files: Sequence[str]) -> dict[str | None, str] | None:
    """Return the templates by eye; None where they differ in something else."""
    if len(files) < 2:
        return dict.fromkeys([None], files[0]) if files else {}
    eyes = [[EYE[side.lower()] for side in SIDES.findall(PurePosixPath(one).name)] for one in files]
    if len(files) > 2 or len({SIDES.sub("", one) for one in files}) > 1 or sorted(eyes) != [["L"], ["R"]]:
        return None
    return dict(sorted(((side[0], one) for side, one in zip(eyes, files, strict=True)), reverse=True))
