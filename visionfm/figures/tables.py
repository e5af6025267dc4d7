"""Tables for people, as plain values: cells of text, in rows below a caption; no HTML here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


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


def counted(caption: str, head: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[int]]]) -> Table:
    """Return a table of counts."""
    body = [[Cell(name), *(Cell(f"{value:,}", numeric=True) for value in values)] for name, values in rows]
    return Table(caption, [head, *columns], body)
