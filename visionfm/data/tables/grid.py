"""Lines of cells, as every format gives them, and the table that they are: a header, and columns of texts."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from visionfm.config.nearest import nearest
from visionfm.data.tables.block import TableFile
from visionfm.errors import Problems

SOME = 10_000  # rows by which a column is judged


class Places(Sequence[str]):
    """Where the rows of a table stand, for messages: the words are made for those that are asked for."""

    def __init__(self, name: str, form: str, numbers: "array[int]") -> None:
        """`form` makes a place of the table's name and a row's number."""
        self.name, self.form, self.numbers = name, form, numbers

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.numbers)

    def __getitem__(self, at: Any) -> Any:
        """Return a place; of a slice several."""
        if isinstance(at, slice):
            return [self[number] for number in range(len(self))[at]]
        return self.form.format(name=self.name, number=self.numbers[at])

    def take(self, rows: Iterable[int]) -> "Places":
        """Return some of them, in that order."""
        return Places(self.name, self.form, array("q", (self.numbers[row] for row in rows)))


@dataclass
class Grid:
    """The lines of a file or sheet: each one's cells, and its number there; `form` makes a number a place."""

    name: str
    lines: list[Sequence[str]]
    numbers: "array[int]"
    form: str = "{name}:{number}"
    dated: frozenset[int] = frozenset()  # columns, from 0, some cells of which are dates and no text
    texts: frozenset[int] = frozenset()  # columns some cells of which are text

    def where(self, line: int) -> str:
        """Return the place of a line, which is counted from 0."""
        return self.form.format(name=self.name, number=self.numbers[line])


class Table(NamedTuple):
    """A table: the names of its columns, the place of each row, and the texts of those columns that are wanted."""

    name: str
    header: list[str]
    where: Places
    cells: dict[str, list[str]]
    dated: frozenset[str] = frozenset()  # columns that hold dates as a spreadsheet has them: read as ISO writes them

    def rows(self, step: int = 1) -> Iterator[dict[str, str]]:
        """Yield column -> text of each row, or of each `step`-th."""
        for at in range(0, len(self.where), step):
            yield {name: texts[at] for name, texts in self.cells.items()}


def as_table(grid: Grid, how: TableFile, wanted: Sequence[str], problems: Problems) -> Table | None:
    """Return the table of a grid with the `wanted` columns (none: all); None, with problems, where they are not there.

    The grid's lines are used up: a table of millions of rows is not held twice.
    """
    lines = grid.lines
    while lines and not any(cell.strip() for cell in lines[-1]):  # spreadsheets leave empty lines behind
        lines.pop()
    if not lines:
        problems.add(f"{grid.name}: has no column {', '.join(map(repr, wanted))}: it is empty")
        return None
    header, first = _header(grid, how, problems)
    if header is None or not _has(grid, header, wanted, how, problems):
        return None
    rows = _rows(grid, first, header, how, wanted, problems)
    mixed = [header[index] for index in sorted(grid.dated & grid.texts) if index < len(header)]
    dated = frozenset(header[index] for index in grid.dated if index < len(header))
    for name in mixed:
        if name in wanted:
            problems.add(
                f"{grid.name}: {name}: some cells are dates, others text; where a spreadsheet took some dates for its "
                "own, day and month may have changed places: write all of them in one form"
            )
    place = {name: index for index, name in enumerate(header)}
    cells = {name: _shared([lines[at][place[name]] for at in rows]) for name in dict.fromkeys(wanted or header)}
    lines.clear()
    return Table(grid.name, header, Places(grid.name, grid.form, grid.numbers).take(rows), cells, dated)


def _rows(
    grid: Grid, first: int, header: list[str], how: TableFile, wanted: Sequence[str], problems: Problems
) -> list[int]:
    """Return which lines are rows, after lines with too few or too many cells were mended or noted."""
    rows: list[int] = []
    hint = "; where empty cells at the end of a row are left out, say `table: {file: ..., short_rows: unknown}`"
    for at in range(first, len(grid.lines)):
        cells = grid.lines[at]
        if len(cells) == len(header) and cells and cells[0].strip():  # as nearly all are
            rows.append(at)
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells = cells[:-1]
        if not any(cell.strip() for cell in cells):
            problems.add(f"{grid.where(at)}: expected {len(header)} cells, found a blank line")
            continue
        lacking = [name for name in header[len(cells) :] if name in wanted]
        if len(cells) > len(header) or (lacking and how.short_rows == "fail"):
            problems.add(f"{grid.where(at)}: expected {len(header)} cells, found {len(cells)}{hint if lacking else ''}")
            hint = "" if lacking else hint
            continue
        grid.lines[at] = [*cells, *[""] * (len(header) - len(cells))]
        rows.append(at)
    return rows


def _shared(texts: list[str]) -> list[str]:
    """Return a column in which equal texts are one object, unless nearly all differ."""
    some = texts[:SOME]
    if len(set(some)) > len(some) / 2:
        return texts
    known: dict[str, str] = {}
    return [known.setdefault(text, text) for text in texts]


def _header(grid: Grid, how: TableFile, problems: Problems) -> tuple[list[str] | None, int]:
    """Return the names of the columns, None with a problem, and which line is the first below them."""
    lines, numbers = grid.lines, grid.numbers
    filled = next(at for at, cells in enumerate(lines) if any(cell.strip() for cell in cells))
    wanted = how.header_lines or [numbers[filled]]
    first = bisect_right(numbers, wanted[-1], hi=len(lines))
    chosen = [lines[at] for at in range(first) if numbers[at] in wanted]
    if len(chosen) != len(wanted):
        last = numbers[len(lines) - 1]
        problems.add(f"{grid.name}: header_row: expected lines from {numbers[0]} to {last}, found {wanted}")
        return None, 0
    width = max(map(len, chosen))
    parts: list[list[str]] = []
    for level, line in enumerate(chosen):
        cells = [cell.strip() for cell in line] + [""] * (width - len(line))
        if level < len(chosen) - 1:  # a name above several columns stands at the first of them
            for index in range(1, width):
                cells[index] = cells[index] or cells[index - 1]
        parts.append(cells)
    header = [" ".join(dict.fromkeys(filter(None, names))) for names in zip(*parts, strict=True)]
    below = range(first, len(lines))
    while header and not header[-1] and not any(any(lines[at][len(header) - 1 :][:1]) for at in below):
        header.pop()
    return header, first


def _has(grid: Grid, header: list[str], wanted: Sequence[str], how: TableFile, problems: Problems) -> bool:
    absent = [name for name in dict.fromkeys(wanted) if name not in header]
    near_top = range(1, min(50, len(grid.lines)))
    other = next((at for at in near_top if set(wanted) <= {cell.strip() for cell in grid.lines[at]}), None)
    if absent and wanted and other is not None and not how.header_lines:
        problems.add(
            f"{grid.name}: has no column {absent[0]!r} in its first line; line {grid.numbers[other]} has all of them: "
            f"`table: {{file: ..., header_row: {grid.numbers[other]}}}`"
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
        problems.add(f"{grid.where(0)}: columns stand twice: {', '.join(doubled)}")
    return not absent and not doubled
