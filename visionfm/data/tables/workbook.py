"""Sheets of workbooks (.xlsx, .xls, .ods): cells as text, as Parquet and CSV would hold them.

A whole number is written without a point, a date as ISO has it; a cell with an error (#N/A) has no value and is empty.
"""

import io
from array import array
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from visionfm.config.nearest import unknown
from visionfm.data.tables.block import TableFile
from visionfm.data.tables.cells import UNKNOWN
from visionfm.data.tables.grid import Grid
from visionfm.errors import Problems

MOST_CELLS = 50_000_000


def read_workbook(name: str, data: bytes, how: TableFile, problems: Problems) -> Grid | None:
    """Return the lines of a workbook's sheet; None, with a problem, where there is no such sheet or workbook."""
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheet = _sheet(name, book, how, problems)
        if sheet is None:
            return None
        if sheet.total_height * sheet.total_width > MOST_CELLS:
            problems.add(f"{name}: sheet {sheet.name!r} has over {MOST_CELLS:,} cells; save the table as CSV")
            return None
        cells = sheet.to_python(skip_empty_area=False)
    except CalamineError as error:
        why = "it is protected by a password, or damaged" if data[:2] == b"\xd0\xcf" else "it is damaged"
        problems.add(f"{name}: a spreadsheet that cannot be read ({error}): {why}; save it anew, or as CSV")
        return None
    if how.encoding is not None or how.separator is not None:
        problems.add(f"{name}: a spreadsheet has neither `encoding` nor `separator`: leave them away")
    first = how.header_lines[-1] if how.header_lines else 1
    below = cells[first:]
    columns = range(max(map(len, cells), default=0))
    dated = {n for n in columns if any(isinstance(row[n], date) for row in below if n < len(row))}
    empty = (*UNKNOWN, *how.unknown)
    texts = {
        n
        for n in dated
        if any(isinstance(row[n], str) and row[n].strip() not in empty for row in below if n < len(row))
    }
    lines: list[Sequence[str]] = [[text_of(cell) for cell in row] for row in cells]
    return Grid(
        name, lines, array("q", range(1, len(lines) + 1)), "{name} row {number}", frozenset(dated), frozenset(texts)
    )


def _sheet(name: str, book: Any, how: TableFile, problems: Problems) -> Any:
    names = book.sheet_names
    if how.sheet is not None:
        if problem := unknown(how.sheet, names, "sheet"):
            problems.add(f"{name}: {problem}")
            return None
        return book.get_sheet_by_name(how.sheet)
    filled = [sheet for sheet in map(book.get_sheet_by_name, names) if sheet.height]
    if len(filled) > 1:
        listed = ", ".join(sheet.name for sheet in filled)
        problems.add(f"{name}: has {len(filled)} sheets: {listed}; name one: `table: {{file: ..., sheet: ...}}`")
        return None
    return filled[0] if filled else book.get_sheet_by_index(0)


def text_of(value: Any) -> str:
    """Return a typed cell as text: 12.0 as 12, true as 1, midnight of a day as its date; empty for none."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if whole else str(value)
