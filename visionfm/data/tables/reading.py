"""Reads a table of any format by what its bytes are; the one place that opens one.

Invariant: what other people's native code parses (workbooks, Parquet) it parses in a process of its own, in bounded
memory: a small file may unpack to any size.
"""

import io
import resource
import struct
import zipfile
from array import array
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from visionfm.artifacts.formats import check_unpacked
from visionfm.data.tables.block import TableFile
from visionfm.data.tables.delimited import SEPARATORS, read_text
from visionfm.data.tables.grid import Grid, Table, as_table
from visionfm.data.tables.workbook import MOST_CELLS, read_workbook, text_of
from visionfm.errors import DataError, Problems, cannot_read_now, is_passing
from visionfm.images.containers.container import Refused
from visionfm.images.guarded import guarded
from visionfm.images.regular import read_regular

PARQUET = b"PAR1"
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
MOST_BYTES = 2_000_000_000
MOST_MEMORY = 4 << 30  # bytes that a workbook or a Parquet file may need to be read
UNPACKED_A_BYTE, UNPACKED_FREE = 100, 200_000_000  # of a workbook: its XML packs by 10 to 30
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
    if data.startswith((PARQUET, *WORKBOOKS)):
        grid = _read_apart(name, data, how, problems)
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


def _read_apart(name: str, data: bytes, how: TableFile, problems: Problems) -> Grid | None:
    """Return the lines of a workbook or a Parquet file, which a process of its own reads."""
    if (unpacked := _unpacked_bytes(data)) > UNPACKED_FREE + UNPACKED_A_BYTE * len(data):
        said = f"{len(data):,} bytes that unpack to {unpacked:,}: damaged, or no workbook"
        problems.add(f"{name}: {said}; save it as CSV")
        return None
    try:
        grid, found = guarded(_parsed, name, data, how, file_bytes=len(data))
    except Refused as error:
        problems.add(f"{name}: the table cannot be read: {error.found}; save it anew, or as CSV")
        return None
    for problem in found:
        problems.add(problem)
    return grid


def _unpacked_bytes(data: bytes) -> int:
    """Return what the parts of a zip archive say to unpack to; 0 of anything else, which its reader refuses."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, LookupError, NotImplementedError, struct.error):
        return 0


def _parsed(name: str, data: bytes, how: TableFile) -> tuple[Grid | None, list[str]]:
    """Return the lines, and what is wrong; runs in the process that reads."""
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [MOST_MEMORY, *(limit for limit in (before, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    problems = Problems(DataError, name)
    try:
        read = _parquet if data.startswith(PARQUET) else read_workbook
        return read(name, data, how, problems), problems.found
    except MemoryError:
        said = f"{name}: unpacks to over {MOST_MEMORY >> 30} GB in memory: damaged, or no table of labels, or too many"
        return None, [f"{said} columns: keep those that are needed, or save it anew"]
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _parquet(name: str, data: bytes, _: TableFile, problems: Problems) -> Grid | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            if file.metadata.num_rows * file.metadata.num_columns > MOST_CELLS:
                problems.add(f"{name}: has over {MOST_CELLS:,} cells; keep the columns that are needed")
                return None
            check_unpacked(file.metadata, len(data))
            table = file.read(use_threads=False)
        columns = [column.to_pylist() for column in table.columns]
    except (OSError, ValueError, OverflowError) as error:  # also of texts and dates that are none
        if is_passing(error):
            raise MemoryError from error
        problems.add(f"{name}: not a Parquet file: {str(error).splitlines()[0]}")
        return None
    lines: list[Sequence[str]] = [list(table.column_names)]
    for cells in zip(*columns, strict=True):
        lines.append([str(cell) if isinstance(cell, datetime | timedelta) else text_of(cell) for cell in cells])
    return Grid(name, lines, array("q", range(len(lines))), "{name} row {number}")
