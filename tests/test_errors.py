"""Errors say what was expected, what was found, where, and what to do; many are raised together."""

import pytest

from visionfm.errors import (
    SHOWN_PROBLEMS,
    ArtifactError,
    ConfigError,
    DataError,
    Problems,
    Stopped,
    UsageError,
    VisionFMError,
)


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError, 2), (ConfigError, 2), (DataError, 3), (ArtifactError, 4), (Stopped, 75)]
)
def test_exit_codes_are_those_of_the_design(error: type[VisionFMError], code: int) -> None:
    assert error("x").exit_code == code


def test_an_error_says_expected_found_where_and_what_to_do() -> None:
    error = DataError("a label is wrong", expected="0 or 1", found=7, where="labels.txt:3", do="correct the line")
    assert str(error).splitlines() == [
        "a label is wrong",
        "  expected: 0 or 1",
        "  found: 7",
        "  where: labels.txt:3",
        "  what to do: correct the line",
    ]


def test_what_is_not_known_is_left_out() -> None:
    assert str(DataError("a label is wrong")) == "a label is wrong"
    assert str(DataError("a label is wrong", found=0)) == "a label is wrong\n  found: 0"


def test_no_problems_raise_nothing() -> None:
    Problems(DataError, "labels").raise_if_any()


def test_one_problem_is_counted_in_the_singular() -> None:
    problems = Problems(DataError, "labels of a")
    problems.add("line 1")
    with pytest.raises(DataError, match="^labels of a: 1 problem\n  - line 1$"):
        problems.raise_if_any()


def test_many_problems_are_listed_up_to_a_limit_and_all_are_counted() -> None:
    problems = Problems(ConfigError, "labels of a")
    for line in range(SHOWN_PROBLEMS + 5):
        problems.add(f"line {line}")
    with pytest.raises(ConfigError) as raised:
        problems.raise_if_any(do="correct them")
    lines = str(raised.value).splitlines()
    assert lines[0] == "labels of a: 25 problems"
    assert lines[1:21] == [f"  - line {line}" for line in range(20)]
    assert lines[21:] == ["  ... and 5 more", "  what to do: correct them"]
    assert len(problems) == 25 and list(problems)[24] == "line 24"
