"""Which test fills which table of the page: every place in the package that makes a table, and who sees it filled.

`filled` looks at the tables of a page: each has rows, and no column is empty. `made_in` finds the places by reading the
code, so that a new table without a test is noticed.
"""

import ast
from html.parser import HTMLParser
from pathlib import Path

import visionfm
from visionfm.figures.tables import Table

PACKAGE = Path(visionfm.__file__).parent
ROOMS = ("report", "tasks")
MAKERS = ("Table", "counted")


class _Tables(HTMLParser):
    """Collects the tables: caption, column heads, rows of cells' texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[tuple[list[str], list[str], list[list[str]]]] = []
        self.into: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append(([], [], []))
        elif tag == "caption":
            self.into = self.tables[-1][0]
        elif tag == "tr":
            self.tables[-1][2].append([])
        elif tag == "th" and dict(attrs).get("scope") == "col":
            self.tables[-1][1].append("")
            self.into = self.tables[-1][1]
        elif tag in ("th", "td"):
            self.tables[-1][2][-1].append("")
            self.into = self.tables[-1][2][-1]
        elif tag == "svg" and self.into is not None:
            self.handle_data("a picture")

    def handle_data(self, data: str) -> None:
        if self.into is not None and data.strip():
            self.into[-1:] = [(self.into or [""])[-1] + data.strip()]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("caption", "th", "td"):
            self.into = None


def filled(page: str) -> list[str]:
    """Return the captions of a page's tables, after a look at each."""
    found = _Tables(page).tables
    for (caption,), heads, rows in found:
        _look(caption, heads, [row for row in rows if row])
    return [caption for (caption,), _, _ in found]


def filled_table(table: Table) -> None:
    """Look at one table that is not on a page."""
    _look(table.caption, table.columns, [[cell.text for cell in row] for row in table.rows])


def _look(caption: str, heads: list[str], rows: list[list[str]]) -> None:
    assert rows, f"{caption}: no row"
    for at, head in enumerate(heads):
        assert any(row[at] for row in rows if at < len(row)), f"{caption}: nothing stands in column {head or at}"


def made_in() -> set[str]:
    """Return `room/module.function` of every place that makes a table of the page."""
    found = set()
    for path in sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                called = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
                if {one.id for one in called if isinstance(one, ast.Name)} & set(MAKERS):
                    found.add(f"{path.relative_to(PACKAGE).with_suffix('').as_posix()}.{node.name}")
    return found
