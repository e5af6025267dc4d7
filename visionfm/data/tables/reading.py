"""Reads a table of any format by what its bytes are; the one place that opens one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from visionfm.data.tables.block import TableFile
from visionfm.data.tables.delimited import SEPARATORS, read_text
from visionfm.data.tables.grid import Grid, Line, Table, as_table
from visionfm.data.tables.workbook import read_workbook, text_of
from visionfm.errors import Problems, cannot_read_now, is_passing
from visionfm.images.regular import read_regular

PARQUET = b"PAR1"
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
MOST_BYTES = 2_000_000_000
FOREIGN = {  # what hospitals and archives send under a table's name
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"$FL2": "an SPSS file: save it as CSV",
    b"<stata_dta>": "a Stata file: save it as CSV",
    b"SQLite format 3": "an SQLite database: export the table as CSV",
    b"{\\rtf": "a text document: save the table as CSV",
}
MARKUP = (b"<html", b"<!doctype", b"<table", b"<?xml", b"<meta", b"<style")


def read_table(file: Path, how: TableFile, wanted: Sequence[str], problems: Problems) -> Table | None:
    """Return the table of a file that has the wanted columns; None, with all that is wrong noted, otherwise."""
    name = file.name
    try:
        data = read_regular(file, MOST_BYTES)
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(file, error) from error
        problems.add(f"{file}: the table cannot be read: {error.strerror}")
        return None
    if foreign := _foreign(data):
        problems.add(f"{name}: is {foreign}; expected CSV, TSV, .xlsx, .xls, .ods or Parquet")
        return None
    if data.startswith(PARQUET):
        grid = _parquet(name, data, problems)
    elif data.startswith(WORKBOOKS):
        grid = read_workbook(name, data, how, problems)
    elif file.suffix.lower() == ".parquet" and not any(sign.encode() in data[:1000] for sign in SEPARATORS):
        problems.add(f"{name}: not a Parquet file: it has no magic bytes")
        return None
    else:
        if how.sheet is not None:
            problems.add(f"{name}: a text has no sheets: leave `sheet` away")
        grid = read_text(name, data, how, problems)
    return None if grid is None else as_table(grid, how, wanted, problems)


def _foreign(data: bytes) -> str | None:
    """Return what a file is that is no table, or None."""
    head = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.lower().startswith(MARKUP):
        return "a web page or XML under a table's name: open it and save it as .xlsx or CSV"
    return next((what for magic, what in FOREIGN.items() if head.startswith(magic)), None)


def _parquet(name: str, data: bytes, problems: Problems) -> Grid | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
        columns = [column.to_pylist() for column in table.columns]
    except (OSError, ValueError, OverflowError) as error:  # also of texts and dates that are none
        problems.add(f"{name}: not a Parquet file: {str(error).splitlines()[0]}")
        return None
    lines = [Line(0, list(table.column_names))]
    for number, cells in enumerate(zip(*columns, strict=True), 1):
        texts = [str(cell) if isinstance(cell, datetime | timedelta) else text_of(cell) for cell in cells]
        lines.append(Line(number, texts))
    return Grid(name, lines, "{name} row {number}")
