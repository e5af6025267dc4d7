"""Limits of agreement have intervals over subjects, which cover where differences are about normal."""

import numpy as np
import pytest
from scipy import stats

from visionfm.metrics.limits_of_agreement import limits_of_agreement
from visionfm.metrics.subjects import Subjects


def people(count: int, eyes: int = 1) -> Subjects:
    return Subjects(np.repeat(np.arange(count), eyes), count)


def test_the_mean_difference_of_independent_eyes_has_the_interval_of_students_t() -> None:
    difference_N = np.random.default_rng(0).normal(0.3, 1, 25)
    found = limits_of_agreement(difference_N, people(25))
    expected = stats.ttest_1samp(difference_N, 0).confidence_interval(0.95)
    assert (found.bias.low, found.bias.high) == pytest.approx((expected.low, expected.high))
    spread = difference_N.std(ddof=1)
    assert found.low.value == pytest.approx(difference_N.mean() - 1.96 * spread)
    assert found.high.value == pytest.approx(difference_N.mean() + 1.96 * spread)
    # The standard error of Bland and Altman (1999) is sqrt(1/n + 1.96^2 / 2(n - 1)) standard deviations.
    textbook = 2 * stats.t.ppf(0.975, 24) * spread * np.sqrt(1 / 25 + 1.96**2 / 48)
    assert found.high.high - found.high.low == pytest.approx(textbook, rel=0.2)


@pytest.mark.parametrize(("count", "eyes"), [(20, 1), (30, 2)])
def test_the_limits_cover_the_truth_about_as_often_as_they_say(count: int, eyes: int) -> None:
    rng, subjects = np.random.default_rng(1), people(count, eyes)
    covered = np.zeros(3)
    for _ in range(600):
        shared, own = rng.normal(size=(count, 1)), rng.normal(size=(count, eyes))
        found = limits_of_agreement((np.sqrt(0.6) * shared + np.sqrt(0.4) * own).ravel(), subjects)
        for at, (one, true) in enumerate(zip(found, (0.0, -1.96, 1.96), strict=True)):
            assert one.low is not None and one.high is not None
            covered[at] += one.low <= true <= one.high
    assert (covered / 600 > 0.915).all() and (covered / 600 < 0.99).all()


def test_few_people_or_equal_differences_have_no_interval_but_a_reason() -> None:
    few = limits_of_agreement(np.arange(8.0), people(4, 2))
    assert few.high.low is None and few.high.reason == "no interval: fewer than five subjects: 4"
    alike = limits_of_agreement(np.ones(9), people(9))
    assert alike.bias.value == 1.0 and "all differences are the same" in str(alike.bias.reason)
