"""No cell of a CSV is computed by the spreadsheet that opens it: a file may be called as its sender likes."""

import pytest

from visionfm.figures.tables import harmless


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "+1.png", "-1.png", "@x", "\t=1", "\r=1"])
def test_what_begins_a_formula_gets_an_apostrophe(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["a=b.png", "eyes/-1.png", "", "-0.5", "-1e-05", "-0.031 to 0.013", "-0.1 to -0.05"])
def test_all_else_stays(cell: str) -> None:
    assert harmless(cell) == cell
