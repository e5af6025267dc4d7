"""Which answers are to be looked at: the most confident errors, and answers in the middle of the right ones."""

from typing import Any

import pandas as pd

from visionfm.tasks.vectors.verdicts import typical, verdicts, worst


def rows(truths: list[Any], scores: list[Any], **columns: Any) -> pd.DataFrame:
    count = len(truths)
    same = {"sample_id": [f"s{n}" for n in range(count)], "dataset": ["eyes"] * count, "class": [None] * count}
    return pd.DataFrame({**same, "truth": truths, "scores": scores, "value": [None] * count, **columns})


def names(found: list[Any]) -> list[str]:
    return [one.sample_id for one in found]


def test_of_a_yes_or_no_the_surest_wrong_answer_comes_first() -> None:
    found = verdicts(
        rows([0, 0, 1, 1, None], [[0.6], [0.9], [0.2], [0.7], [0.99]]), {"type": "binary", "classes": []}, ""
    )
    assert names(worst(found, 9)) == ["s1", "s2", "s0"]  # 0.9, 0.8 and 0.6 sure; an unknown truth is no error
    assert worst(found, 1)[0].says == "called yes (probability 0.90), no is true"
    assert names(typical(found, 9)) == ["s3"]


def test_of_grades_a_miss_by_two_comes_before_a_surer_miss_by_one() -> None:
    target = {"type": "multiclass", "classes": ["0", "1", "2"]}
    found = verdicts(rows([0, 0, 2], [[0.0, 1.0, 0.0], [0.2, 0.0, 0.8], [0.0, 0.1, 0.9]]), target, "ordinal")
    assert names(worst(found, 9)) == ["s1", "s0"]
    assert names(worst(verdicts(rows([0, 0], [[0.0, 1.0, 0.0], [0.2, 0.0, 0.8]]), target, ""), 9)) == ["s0", "s1"]


def test_of_values_the_largest_miss_comes_first_and_the_median_miss_is_typical() -> None:
    asked = rows([10.0] * 5, [None] * 5, value=[10.0, 11.0, 13.0, 17.0, 30.0])
    found = verdicts(asked, {"type": "value", "unit": "mm"}, "regression")
    assert names(worst(found, 2)) == ["s4", "s3"] and names(typical(found, 1)) == ["s2"]
    assert found[4].says == "30.0 mm was said, 10.0 mm is true"


def test_typical_answers_are_of_each_true_class_in_turn_and_a_sample_stands_once() -> None:
    found = verdicts(
        rows([0, 0, 0, 1], [[0.01], [0.1], [0.4], [0.9]]), {"type": "binary", "classes": ["well", "ill"]}, ""
    )
    assert names(typical(found, 3)) == ["s3", "s1", "s0"]  # ill first, for groups come in the order of their names
    asked = rows([1, 1], [[0.1], [0.3]], sample_id=["s0", "s0"], **{"class": ["a", "b"]})
    assert [one.says for one in worst(verdicts(asked, {"type": "multilabel", "classes": ["a", "b"]}, ""), 9)] == [
        "a: called no (probability 0.90), yes is true"
    ]
