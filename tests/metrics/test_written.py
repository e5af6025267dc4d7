"""How values are written for people."""

import pytest

from visionfm.metrics.written import percent


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 12, "0%"), (12, 12, "100%"), (1, 300, "<1%"), (299, 300, ">99%"), (3, 300, "1%"), (297, 300, "99%"),
     (1, 3, "33%")],
)  # fmt: skip
def test_a_percent_is_not_rounded_to_none_or_all(part: int, whole: int, shown: str) -> None:
    assert percent(part / whole) == shown
