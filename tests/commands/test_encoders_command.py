"""`visionfm encoders` lists what can be used, and the page of weights holds the same list."""

import os
from pathlib import Path

import pytest
from world.differences import table

from visionfm import cli
from visionfm.commands import encoders
from visionfm.encoders.layouts import LAYOUTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "weights.md"


def test_every_layout_is_listed_with_its_licence_or_the_reason_against_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["encoders"]) == 0
    said = capsys.readouterr().out
    for layout in LAYOUTS:
        assert layout.title in said
        assert (layout.refusal or layout.licence) in said


def test_the_page_of_weights_holds_the_list_as_it_is() -> None:
    """Where this fails, put what `encoders.listing()` returns between the two comments of the page."""
    text = PAGE.read_text(encoding="utf-8")
    assert encoders.listing() in text


def test_the_page_of_weights_tells_the_differences_that_the_tests_measured() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split("<!-- differences -->\n")
    shown, after = rest.split("<!-- end of differences -->\n")
    if os.environ.get("VISIONFM_WRITE_DIFFERENCES"):
        PAGE.write_text(
            f"{before}<!-- differences -->\n{table()}<!-- end of differences -->\n{after}", encoding="utf-8"
        )
    else:
        assert shown == table()
