"""Tables for people, as plain values: cells of text, in rows below a caption; no HTML here."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one
NUMBER = re.compile(r"-?[\d.]+(e[-+]?\d+)?( to -?[\d.]+(e[-+]?\d+)?)?%?")


class Cell(NamedTuple):
    """A table cell: `small` stands below `text`, `mark` points to a note below the table."""

    text: str
    small: str = ""
    numeric: bool = False
    mark: str = ""


@dataclass
class Table:
    """A table with its caption; the first `heads` cells of a row are headers; `notes` stand below."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    heads: int = 1
    notes: list[str] = field(default_factory=list)
    file: str = ""  # its name as a CSV file beside the page, which the page gives


def slug(text: str) -> str:
    """Return a text as part of a file's name."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")[:80]


def harmless(text: str) -> str:
    """Return a cell of a CSV file that no spreadsheet computes: what would begin a formula, and is no number or
    interval, gets an apostrophe in front.
    """
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def counted(caption: str, head: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[int]]]) -> Table:
    """Return a table of counts."""
    body = [[Cell(name), *(Cell(f"{value:,}", numeric=True) for value in values)] for name, values in rows]
    return Table(caption, [head, *columns], body)
