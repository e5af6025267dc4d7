"""Kappa of graders is Cohen's and Fleiss' as others compute them, with an interval over people."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from visionfm.metrics.agreement import agreement

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 4, 200)
ONE, OTHER, THIRD = (np.where(RNG.random(200) < 0.7, TRUTH, RNG.integers(0, 4, 200)) for _ in range(3))
PEOPLE = [f"p{number // 2}" for number in range(200)]


def pairs(*graders: np.ndarray, words: bool = False) -> list[list[float | str]]:
    return [[f"grade {grade}" if words else float(grade) for grade in grades] for grades in zip(*graders, strict=True)]


def test_names_of_two_known_graders_give_cohens_kappa() -> None:
    found = agreement(pairs(ONE, OTHER, words=True), PEOPLE, known=True)
    assert found is not None and found.kappa == pytest.approx(cohen_kappa_score(ONE, OTHER)) and not found.quadratic
    assert found.equal == pytest.approx((ONE == OTHER).mean()) and (found.images, found.subjects) == (200, 100)


def test_numbers_give_quadratic_weights() -> None:
    found = agreement(pairs(ONE, OTHER), PEOPLE, known=True)
    assert found is not None and found.kappa == pytest.approx(cohen_kappa_score(ONE, OTHER, weights="quadratic"))
    assert found.low is not None and found.high is not None and found.low < found.kappa < found.high


def test_interchangeable_graders_give_fleiss_kappa() -> None:
    found = agreement(pairs(ONE, OTHER, THIRD, words=True), PEOPLE, known=False)
    expected = fleiss_kappa(aggregate_raters(np.stack([ONE, OTHER, THIRD], 1))[0])
    assert found is not None and found.kappa == pytest.approx(expected)


def test_the_order_of_interchangeable_graders_does_not_count() -> None:
    one, other = (agreement(grades, PEOPLE, known=False) for grades in (pairs(ONE, OTHER), pairs(OTHER, ONE)))
    assert one == other


def test_where_all_grades_are_the_same_there_is_no_kappa() -> None:
    found = agreement([[1.0, 1.0]] * 20, PEOPLE[:20], known=True)
    assert found is not None and np.isnan(found.kappa) and found.low is None and found.reason


def test_images_of_one_grade_do_not_count() -> None:
    assert agreement([[1.0], []], ["a", "b"], known=True) is None
    found = agreement([*pairs(ONE, OTHER), [1.0]], [*PEOPLE, "q"], known=True)
    assert found is not None and found.images == 200
