"""How values are written for people."""

import pytest

from visionfm.metrics.written import interval, number, percent, short


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 12, "0%"), (12, 12, "100%"), (1, 300, "<1%"), (299, 300, ">99%"), (3, 300, "1%"), (297, 300, "99%"),
     (1, 3, "33%")],
)  # fmt: skip
def test_a_percent_is_not_rounded_to_none_or_all(part: int, whole: int, shown: str) -> None:
    assert percent(part / whole) == shown


def test_what_is_no_finite_number_is_said_and_stops_no_page() -> None:
    assert [number(value, "auroc") for value in (float("nan"), float("inf"))] == ["\u2013", "infinite"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.000"), (1, "1.000"), (0.25, "0.250"), (0.0006, "0.001"), (0.0002, "0.0002"), (0.99996, "0.99996"),
     (0.9996, "0.9996"), (-0.00004, "\u22120.00004"), (-1e-17, "0.000"), (1 - 1e-16, "1.000"), (-1, "\u22121.000")],
)  # fmt: skip
def test_a_value_is_not_rounded_to_certainty(value: float, shown: str) -> None:
    assert number(value, "brier") == shown


def test_an_interval_of_small_numbers_says_how_small_they_are() -> None:
    assert interval(0.0001, 0.0004, "brier") == "0.0001 to 0.0004"
    assert [short(share) for share in (0, 0.003, 0.5, 0.997, 1)] == ["0.00", "<0.01", "0.50", ">0.99", "1.00"]
