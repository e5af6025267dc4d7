"""Lines of cells, as every format gives them, and the table that they are: a header, and rows of texts by column."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from visionfm.config.nearest import nearest
from visionfm.data.tables.block import TableFile
from visionfm.errors import Problems


class Line(NamedTuple):
    """One line of a file: its number there, counted from 1, and its cells."""

    number: int
    cells: list[str]


@dataclass
class Grid:
    """The lines of a file or sheet; `place` makes a line's number a place for messages."""

    name: str
    lines: list[Line]
    place: str = "{name}:{number}"
    dated: frozenset[int] = frozenset()  # columns, from 0, some cells of which are dates and no text
    texts: frozenset[int] = frozenset()  # columns some cells of which are text

    def where(self, line: Line) -> str:
        """Return a line's place."""
        return self.place.format(name=self.name, number=line.number)


class Table(NamedTuple):
    """A table: the names of its columns, and (place, column -> text) of each row."""

    name: str
    header: list[str]
    rows: list[tuple[str, dict[str, str]]]
    dated: frozenset[str] = frozenset()  # columns that hold dates as a spreadsheet has them: read as ISO writes them


def as_table(grid: Grid, how: TableFile, wanted: Sequence[str], problems: Problems) -> Table | None:
    """Return the table of a grid; None, with problems, where the wanted columns are not there."""
    lines = _without_empty_ends(grid.lines)
    if not lines:
        problems.add(f"{grid.name}: has no column {', '.join(map(repr, wanted))}: it is empty")
        return None
    header, below = _header(grid, lines, how, problems)
    if header is None or not _has(grid, header, wanted, lines, how, problems):
        return None
    rows: list[tuple[str, dict[str, str]]] = []
    hint = "; where empty cells at the end of a row are left out, say `table: {file: ..., short_rows: unknown}`"
    for line in below:
        cells = line.cells
        if len(cells) == len(header) and cells and cells[0].strip():  # as nearly all are
            rows.append((grid.where(line), dict(zip(header, cells, strict=True))))
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells = cells[:-1]
        if not any(cell.strip() for cell in cells):
            problems.add(f"{grid.where(line)}: expected {len(header)} cells, found a blank line")
            continue
        lacking = [name for name in header[len(cells) :] if name in wanted]
        if len(cells) > len(header) or (lacking and how.short_rows == "fail"):
            problems.add(
                f"{grid.where(line)}: expected {len(header)} cells, found {len(cells)}{hint if lacking else ''}"
            )
            hint = "" if lacking else hint
            continue
        rows.append((grid.where(line), dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))))
    mixed = [header[index] for index in sorted(grid.dated & grid.texts) if index < len(header)]
    dated = frozenset(header[index] for index in grid.dated if index < len(header))
    for name in mixed:
        if name in wanted:
            problems.add(
                f"{grid.name}: {name}: some cells are dates, others text; where a spreadsheet took some dates for its "
                "own, day and month may have changed places: write all of them in one form"
            )
    return Table(grid.name, header, rows, dated)


def _without_empty_ends(lines: Iterable[Line]) -> list[Line]:
    """Leave out what spreadsheets leave behind: empty lines at the end, and empty columns at the right."""
    kept = list(lines)
    while kept and not any(cell.strip() for cell in kept[-1].cells):
        kept.pop()
    return kept


def _header(grid: Grid, lines: list[Line], how: TableFile, problems: Problems) -> tuple[list[str] | None, list[Line]]:
    filled = next(line for line in lines if any(cell.strip() for cell in line.cells))
    numbers = how.header_lines or [filled.number]
    chosen = [line for line in lines if line.number in numbers]
    if len(chosen) != len(numbers):
        last = lines[-1].number
        problems.add(f"{grid.name}: header_row: expected lines from {lines[0].number} to {last}, found {numbers}")
        return None, []
    width = max(len(line.cells) for line in chosen)
    parts: list[list[str]] = []
    for level, line in enumerate(chosen):
        cells = [cell.strip() for cell in line.cells] + [""] * (width - len(line.cells))
        if level < len(chosen) - 1:  # a name above several columns stands at the first of them
            for index in range(1, width):
                cells[index] = cells[index] or cells[index - 1]
        parts.append(cells)
    header = [" ".join(dict.fromkeys(filter(None, names))) for names in zip(*parts, strict=True)]
    below = [line for line in lines if line.number > numbers[-1]]
    while header and not header[-1] and not any(line.cells[len(header) - 1 :][:1] not in ([], [""]) for line in below):
        header.pop()
    return header, below


def _has(
    grid: Grid, header: list[str], wanted: Sequence[str], lines: list[Line], how: TableFile, problems: Problems
) -> bool:
    absent = [name for name in dict.fromkeys(wanted) if name not in header]
    other = next((line for line in lines[1:50] if set(wanted) <= {cell.strip() for cell in line.cells}), None)
    if absent and wanted and other is not None and not how.header_lines:
        problems.add(
            f"{grid.name}: has no column {absent[0]!r} in its first line; line {other.number} has all of them: "
            f"`table: {{file: ..., header_row: {other.number}}}`"
        )
        return False
    named = [name for name in header if name]
    for name in absent:
        near = nearest(name, named)
        hint = "" if near is None else f"; did you mean {near!r}?"
        problems.add(f"{grid.name}: has no column {name!r}; its columns: {', '.join(header)}{hint}")
    # Spreadsheets leave columns without a name behind; nothing can refer to them, nor does a double matter unread.
    doubled = sorted({name for name in named if header.count(name) > 1 and name in wanted})
    if doubled:
        problems.add(f"{grid.where(lines[0])}: columns stand twice: {', '.join(doubled)}")
    return not absent and not doubled
