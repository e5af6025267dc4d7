"""Comparisons: DeLong by the textbook, Holm by hand, exchange by counting, type I error and power by simulation."""

import numpy as np
import pytest
from scipy import stats

from visionfm.metrics import comparison
from visionfm.metrics.evidence import Interval, Mean, Members, Ranking, Share
from visionfm.metrics.intervals import interval


def people(count, eyes=1):
    return np.array([f"p{n // eyes:05d}" for n in range(count)], dtype=object)


def kernel(truth, score):
    """Return all pairs of a positive and a negative: 1 right, a half tied, 0 wrong."""
    positive, negative = score[truth == 1], score[truth == 0]
    return (positive[:, None] > negative).astype(float) + (positive[:, None] == negative) / 2


def two_models(rng, count, apart_first, apart_second, eyes=2, alike=0.7):
    """Return truth and two scores, whose errors correlate between the eyes of a person and between the models."""

    def normal():
        own = rng.normal(size=(count, eyes))
        return (np.sqrt(alike) * rng.normal(size=(count, 1)) + np.sqrt(1 - alike) * own).ravel()

    truth = (normal() > 0.5).astype(float)
    shared = normal()
    first, second = (apart * truth + (shared + normal()) / np.sqrt(2) for apart in (apart_first, apart_second))
    return truth, first, second


def test_independent_eyes_give_the_test_of_delong():
    truth, first, second = two_models(np.random.default_rng(0), 90, 1.5, 1.0, eyes=1, alike=0.0)
    pairs = [kernel(truth, score) for score in (first, second)]
    positive = np.cov([one.mean(1) for one in pairs])
    negative = np.cov([one.mean(0) for one in pairs])
    covariance = positive / pairs[0].shape[0] + negative / pairs[0].shape[1]
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = pairs[0].mean() - pairs[1].mean()
    m, n = pairs[0].shape
    freedom = (1 / m + 1 / n) ** 2 / (1 / m**2 / (m - 1) + 1 / n**2 / (n - 1))
    found = comparison.auroc(truth, first, second, people(90))
    assert found.difference == pytest.approx(difference)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(difference) / error, freedom))
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, freedom) * error)
    assert found.n_subjects == 90


def test_an_eye_shown_twice_is_no_second_person():
    truth, first, second = two_models(np.random.default_rng(1), 60, 1.5, 1.0, eyes=1)
    once = comparison.auroc(truth, first, second, people(60))
    twice = comparison.auroc(*(np.repeat(one, 2) for one in (truth, first, second)), people(120, 2))
    assert twice.p == pytest.approx(once.p)
    alone = comparison.auroc(*(np.repeat(one, 2) for one in (truth, first, second)), people(120))
    assert alone.p < once.p


def test_models_that_rank_alike_are_not_compared():
    truth, first, _ = two_models(np.random.default_rng(2), 40, 1.5, 1.0)
    found = comparison.auroc(truth, first, 2 * first + 1, people(80, 2))
    assert (found.difference, found.p) == (0.0, None)
    assert found.reason == "no comparison: no subject tells the two apart"


def test_few_people_with_the_condition_are_not_compared():
    truth = np.repeat([1.0, 0.0], [4, 36])
    found = comparison.auroc(truth, np.arange(40.0), -np.arange(40.0), people(40))
    assert found.p is None
    assert "fewer than five subjects with the condition" in found.reason


@pytest.mark.parametrize(("better", "least", "most"), [(1.0, 0.02, 0.09), (2.0, 0.9, 1.0)])
def test_auroc_is_told_apart_where_it_differs_and_else_in_five_percent(better, least, most):
    rng = np.random.default_rng(3)
    found = [comparison.auroc(*two_models(rng, 80, better, 1.0), people(160, 2)).p for _ in range(400)]
    assert least < np.mean(np.array(found) < 0.05) < most


def means(value_N, weights_DN):
    return weights_DN @ value_N / weights_DN.sum(axis=1)


def test_a_mean_is_compared_as_by_the_paired_t_test():
    first, second = np.random.default_rng(4).random((2, 30))
    found = comparison.paired(*([interval("brier", Mean(one), people(30))] for one in (first, second)), 30)
    test = stats.ttest_rel(first, second)
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.p == pytest.approx(test.pvalue, rel=0.1)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()), abs=0.005)


def test_a_sensitivity_is_told_by_the_people_with_the_condition_alone():
    rng = np.random.default_rng(8)
    hit_N, other_N, case_N = rng.random(40) < 0.8, rng.random(40) < 0.4, np.arange(40) < 12
    alone = slice(0, 12)
    found = []
    for where in (slice(0, 40), alone):
        shares = [Share(one[where], case_N[where]) for one in (hit_N, other_N)]
        sides = [interval("sensitivity", share, people(40)[where]) for share in shares]
        found.append(comparison.paired([sides[0]], [sides[1]], 40))
    assert found[0].p == pytest.approx(found[1].p) and found[0].low == pytest.approx(found[1].low)


@pytest.mark.parametrize(("better", "least", "most"), [(1.0, 0.02, 0.09), (2.0, 0.6, 1.0)])
def test_rare_cases_are_told_apart_where_they_differ_and_else_in_five_percent(better, least, most):
    """The mean of two classes, of 60 people with two eyes."""
    rng, found = np.random.default_rng(9), []
    for _ in range(300):
        truth, first, second = two_models(rng, 60, better, 1.0)
        other, third, fourth = two_models(rng, 60, better, 1.0)
        sides = []
        for one, two in ((first, third), (second, fourth)):
            members = [interval("auroc", Ranking(*pair), people(120, 2)) for pair in ((truth, one), (other, two))]
            sides.append(interval("auroc", Members(dict(zip("ab", members, strict=True))), people(120, 2)))
        found.append(comparison.paired([sides[0]], [sides[1]], 60).p)
    assert least < np.mean(np.array(found) < 0.05) < most


def test_bootstrap_of_a_mean_is_close_to_the_paired_t_test():
    first, second = np.random.default_rng(5).random((2, 30))
    drawn = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), 4000)
    weights = np.concatenate([np.ones((1, 30)), drawn])
    found = comparison.bootstrap(means(first, weights), means(second, weights), 30)
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)
    assert (found.p < 0.05) == (not found.low < 0 < found.high)


def test_what_cannot_be_compared_says_why():
    compare, values = comparison.bootstrap, np.linspace(0.5, 0.6, 31)
    assert "fewer than five subjects: 4" in compare(values, values[::-1], 4).reason
    assert "no subject tells" in compare(values, values, 30).reason
    nothing = values.copy()
    nothing[0] = np.nan
    assert "has no value" in compare(values, nothing, 30).reason
    rare = values.copy()
    rare[5:] = np.nan
    assert "does not exist for many draws" in compare(values, rare, 30).reason


def test_independent_samples_have_the_interval_of_both_and_zero_is_on_its_edge_at_its_own_p():
    rng = np.random.default_rng(6)
    one, other = (
        interval("auroc", Ranking(*two_models(rng, 100, apart, 1.0)[:2]), people(200, 2)) for apart in (2.0, 0.8)
    )
    found = comparison.unpaired(one, other)
    assert found.difference == pytest.approx(one.value - other.value)
    assert found.low == pytest.approx(found.difference - np.hypot(one.value - one.low, other.high - other.value))
    assert (found.p < 0.05) == (not found.low < 0 < found.high)
    none = Interval(None, None, None, "no interval: fewer than five subjects with the condition: 1")
    assert comparison.unpaired(one, none).reason.startswith("no comparison: fewer than five")


def test_permutation_counts_all_exchanges_of_few_subjects():
    first, second = np.array([3.0, 5.0, 4.0, 6.0]), np.array([1.0, 2.0, 2.0, 1.0])

    def statistic(swapped):
        return np.where(swapped, second - first, first - second).mean()

    assert comparison.permutation(statistic, people(4)) == 2 / 16  # none and all exchanged


def test_permutation_of_many_subjects_is_that_of_scipy():
    first, second = np.random.default_rng(7).random((2, 25))
    second[:20] -= 0.15

    def statistic(swapped):
        return np.where(swapped, second - first, first - second).mean()

    expected = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=10_000, rng=0
    )
    assert comparison.permutation(statistic, people(25), draws=4000) == pytest.approx(expected.pvalue, abs=0.02)


def test_permutation_exchanges_people_not_eyes():
    difference = np.repeat([1.0, 2.0, 3.0], 2)

    def statistic(swapped):
        return np.where(swapped, -difference, difference).mean()

    assert comparison.permutation(statistic, people(6, 2)) == 2 / 8


def test_holm_is_that_of_the_hand_table():
    found = comparison.holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    assert found[[0, 1, 3, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(found[2])
    assert comparison.holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert len(comparison.holm(np.array([]))) == 0
