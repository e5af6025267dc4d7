"""Labels become class indices, 0/1 and values as the config says, or a named mistake; unknown stays unknown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionfm.errors import DataError, Problems
from visionfm.tasks.labels import Visits, absent_classes, encode, joined
from visionfm.tasks.settings import LabelledTarget


def target(kind: str, **keys: Any) -> LabelledTarget:
    return LabelledTarget(type=kind, column="y", **keys)  # type: ignore[arg-type]


def encoded(wanted: LabelledTarget, value: Any, **others: Any) -> tuple[Any, list[str]]:
    problems = Problems(DataError, "x")
    return encode(wanted, {"y": value, **others}, "d/1.png", problems), list(problems)


BINARY = target("binary", classes=["negative", "positive"], values=[[0], [1]])
GRADES = target("multiclass", classes=["none", "mild", "severe"], values=[[0], [1, "1a"], [2, 3]], unknown=[-1, "?"])
VALUE = target("value", unknown=[-1])


@pytest.mark.parametrize(
    ("wanted", "value", "index"),
    [
        (BINARY, 0.0, 0.0),
        (BINARY, 1, 1.0),
        (BINARY, True, 1.0),
        (BINARY, "1", 1.0),
        (BINARY, "1.0", 1.0),
        (BINARY, None, None),
        (GRADES, 2.0, 2.0),
        (GRADES, 3.0, 2.0),
        (GRADES, "1a", 1.0),
        (GRADES, -1.0, None),
        (GRADES, "-1", None),
        (GRADES, "?", None),
        (VALUE, 0.25, 0.25),
        (VALUE, "0.25", 0.25),
        (VALUE, -1.0, None),
        (VALUE, None, None),
    ],
)
def test_a_label_is_encoded_however_its_number_is_written(
    wanted: LabelledTarget, value: Any, index: float | None
) -> None:
    assert encoded(wanted, value) == (index, [])


@pytest.mark.parametrize(
    ("wanted", "value", "message"),
    [
        (BINARY, 2.0, "d/1.png: y: expected one of 0, 1, found 2.0"),
        (BINARY, "yes", "d/1.png: y: expected one of 0, 1, found 'yes'"),
        (GRADES, 4.0, "d/1.png: y: expected one of 0, 1, 1a, 2, 3, found 4.0"),
        (GRADES, "1A", "found '1A'"),
        (VALUE, "high", "d/1.png: y: expected a number, found 'high'"),
        (VALUE, "1_0", "expected a number, found '1_0'"),
        (VALUE, "\u0663", "expected a number"),
        (VALUE, "inf", "expected a number, found 'inf'"),
        (VALUE, "1e400", "expected a number, found '1e400'"),
    ],
)
def test_a_label_that_does_not_fit_is_a_named_mistake(wanted: LabelledTarget, value: Any, message: str) -> None:
    result, problems = encoded(wanted, value)
    assert result is None and len(problems) == 1 and message in problems[0]


def test_class_names_that_only_python_takes_for_numbers_stay_names() -> None:
    names = target("multiclass", classes=["a", "b", "c", "d"], values=[["1_0"], ["10"], ["inf"], ["infinity"]])
    assert [encoded(names, value)[0] for value in ("1_0", "10", 10.0, "inf", "infinity")] == [0, 1, 1, 2, 3]


def test_several_labels_at_once() -> None:
    wanted = target("multilabel", classes=["a", "b", "c"], unknown=[-1])
    assert encoded(wanted, None, a=1.0, b=0.0, c=-1.0) == ([1.0, 0.0, None], [])
    assert encoded(wanted, None, a="1", b=None) == ([1.0, None, None], [])
    result, problems = encoded(wanted, None, a=2.0, b="x", c=0.0)
    assert result == [None, None, 0.0]
    assert problems == ["d/1.png: a: expected 0 or 1, found 2.0", "d/1.png: b: expected 0 or 1, found 'x'"]


def join(wanted: LabelledTarget, values: list[Any]) -> tuple[Any, list[str]]:
    problems = Problems(DataError, "x")
    return joined(wanted, values, Visits([str(index) for index in range(len(values))]), "s1", problems), list(problems)


def test_images_of_a_unit_that_agree_give_their_label_and_unknown_ones_do_not_count() -> None:
    assert join(BINARY, [1.0, None, 1.0]) == (1.0, [])
    assert join(BINARY, [None, None]) == (None, [])
    wanted = target("multilabel", classes=["a", "b"])
    assert join(wanted, [[1.0, None], [None, 0.0]]) == ([1.0, 0.0], [])


def test_disagreement_without_aggregate_is_an_error_with_the_values() -> None:
    assert join(BINARY, [1.0, 0.0]) == (None, ["s1: its images disagree: 0, 1"])
    wanted = target("multilabel", classes=["a", "b"])
    assert join(wanted, [[1.0, 0.0], [0.0, 0.0]])[1] == ["s1: its images disagree: 0, 1"]


@pytest.mark.parametrize(("how", "value"), [("max", 5.0), ("mean", 3.0), ("latest", 1.0), ("first", 3.0)])
def test_aggregate_says_how_disagreement_ends(how: str, value: float) -> None:
    assert join(target("value", aggregate=how), [None, 3.0, 5.0, 1.0, None]) == (value, [])


@given(st.lists(st.none() | st.floats(-5, 5), max_size=6))
def test_one_known_value_is_what_any_aggregate_gives(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    for how in ("max", "mean", "latest", "first"):
        result, problems = join(target("value", aggregate=how), values)
        assert problems == [] and (result is None) == (not known)
        assert not known or min(known) - 1e-9 <= result <= max(known) + 1e-9


def test_absent_classes_are_named() -> None:
    assert absent_classes(GRADES, [0.0, 2.0, None]) == ["no case of class mild"]
    assert absent_classes(BINARY, []) == ["no case of class negative", "no case of class positive"]
    wanted = target("multilabel", classes=["a", "b"])
    assert absent_classes(wanted, [[1.0, None], [0.0, 0.0]]) == ["no positive case of b"]
    assert absent_classes(VALUE, [None]) == ["no known value"] and absent_classes(VALUE, [None, 1.0]) == []
