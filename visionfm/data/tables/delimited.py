"""Tables written as text: any usual separator and encoding, `sep=;`, quotes; nothing about them is guessed twice."""

import csv
import re
from array import array
from collections.abc import Iterator
from itertools import islice

from visionfm.data.tables.block import TableFile
from visionfm.data.tables.grid import Grid
from visionfm.errors import Problems

SEPARATORS = ",;\t|"  # what counts where several stand equally often in the header is the first
MARKS = {b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
PIECE = 1 << 20  # signs of a text that are cut into lines at once
SUGGESTED = "cp1252"


def read_text(name: str, data: bytes, how: TableFile, problems: Problems) -> Grid | None:
    """Return the lines of a delimited text; None, with a problem, where it is none."""
    text = _decoded(name, data, how, problems)
    if text is None:
        return None
    text = text.rstrip("\n")
    first = 0
    separator = how.separator
    if said := re.fullmatch(r'"?sep=(.)"?[,;\t ]*', text.partition("\n")[0], re.IGNORECASE):
        first, separator = 1, separator or said[1]
    if separator is None:
        separator = _separator(_names(text, first, how), name)
    reader = csv.reader(islice(_lines(text), first, None), delimiter=separator, strict=True)
    grid = Grid(name, [], array("q"))
    try:
        for cells in reader:
            grid.lines.append(tuple(cells))  # unlike a million lists, these are not looked through for cycles
            grid.numbers.append(reader.line_num + first)
    except csv.Error as error:
        problems.add(f"{name}:{reader.line_num + first}: {error}")
    return grid


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text, cut at line feeds alone: splitlines() would cut at U+2028 and others too."""
    start = 0
    while (end := text.find("\n", start + PIECE)) >= 0:
        yield from text[start:end].split("\n")
        start = end + 1
    yield from text[start:].split("\n")


def _names(text: str, first: int, how: TableFile) -> str:
    """Return the line of the columns' names: the one that the config says, or the first filled one."""
    wanted = how.header_lines[-1] - 1 if how.header_lines else None
    line = ""
    for number, line in enumerate(_lines(text)):
        if number == wanted or (wanted is None and number >= first and line.strip()):
            return line
    return line


def _decoded(name: str, data: bytes, how: TableFile, problems: Problems) -> str | None:
    encoding = next((marked for mark, marked in MARKS.items() if data.startswith(mark)), how.encoding or _bare(data))
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        reason = f"{error.reason} at byte {error.start}" if isinstance(error, UnicodeDecodeError) else str(error)
        problems.add(f"{name}: not {encoding.upper().removesuffix('-SIG')} text: {reason}{_advice(data, error)}")
        return None
    if "\0" in text:
        problems.add(f"{name}: holds NUL bytes; it is no text file")
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _bare(data: bytes) -> str:
    """Return the encoding of a text without a mark: UTF-16 has a zero in every other byte of most letters."""
    head = data[:4000]
    zeros = [head[start::2].count(0) / max(len(head) // 2, 1) for start in (0, 1)]
    if max(zeros) > 0.4 and min(zeros) < 0.1:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return "utf-8"


def _advice(data: bytes, error: Exception) -> str:
    """Return what a text that is not UTF-8 would be in Western Europe, for the reader to judge."""
    if not isinstance(error, UnicodeDecodeError):
        return ""
    start = data.rfind(b"\n", 0, error.start) + 1
    line = data[start : start + 200].partition(b"\n")[0]
    try:
        seen = line.decode(SUGGESTED).strip()[:60]
    except UnicodeDecodeError:
        return "; save it as UTF-8, or name its encoding: `table: {file: ..., encoding: ...}`"
    return (
        f"; save it as UTF-8, or say `table: {{file: ..., encoding: {SUGGESTED}}}` if line "
        f"{data.count(10, 0, start) + 1} rightly reads {seen!r}"
    )


def _separator(header: str, name: str) -> str:
    """Return what stands most often between the names of the columns; of a .tsv without any, the tab."""
    bare = re.sub(r'"[^"]*"', "", header)
    counts = {sign: bare.count(sign) for sign in SEPARATORS}
    if name.lower().endswith(".tsv") and (counts["\t"] or not any(counts.values())):
        return "\t"
    return max(SEPARATORS, key=lambda sign: counts[sign])
