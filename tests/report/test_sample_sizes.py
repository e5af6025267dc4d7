"""A test that is too small says what it would need; a large one says nothing."""

import numpy as np
from scipy.special import expit

from visionfm.metrics.sample_size import for_auroc, for_slope
from visionfm.report.sample_sizes import _size
from visionfm.tasks.classification.figures import Scored


def asked(count: int) -> Scored:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, count)
    return Scored("yes", rng.random(count) < expit(odds), expit(odds), np.arange(count) // 2)


def test_a_small_test_says_how_many_people_and_cases_it_would_need() -> None:
    one = asked(120)
    found = _size("dme on ours", one)
    slope = for_slope(one.score_N)
    assert found.subjects == 60 and found.slope == slope
    assert found.text.startswith("dme on ours has 60 people; AUROC within 0.05: ")
    assert f"calibration slope within 0.1: {slope.samples:,} people with {slope.cases:,} cases" in found.text


def test_a_large_test_says_nothing_and_a_perfect_order_is_not_believed() -> None:
    assert _size("t", asked(6000)).text == ""
    perfect = Scored("yes", np.arange(20) > 9, np.arange(20) / 20, np.arange(20))
    assert _size("t", perfect).auroc == for_auroc(0.95, 0.5)


def test_probabilities_that_are_all_the_same_need_no_slope() -> None:
    same = Scored("yes", np.arange(40) > 19, np.full(40, 0.5), np.arange(40))
    assert _size("t", same).slope is None and "slope" not in _size("t", same).text
