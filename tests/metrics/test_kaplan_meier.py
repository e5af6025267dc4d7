"""Kaplan-Meier and log-rank against lifelines (an oracle in tests alone)."""

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test

from visionfm.metrics.kaplan_meier import curve, free_of_event, log_rank


def cohort(count=120, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, count)
    seen, lost = rng.exponential(800 / (1 + group)), rng.uniform(100, 1500, count)
    return group, np.ceil(np.minimum(seen, lost) / 20) * 20, seen <= lost


def people(count, eyes=1):
    return np.array([f"p{n // eyes}" for n in range(count)], dtype=object)


def test_curve_is_that_of_lifelines():
    _, time, event = cohort()
    at = np.array([0.0, 50, 100, 333, 700, time.max()])
    fitted = KaplanMeierFitter().fit(time, event)
    found = free_of_event(time, event, np.ones((1, len(time))), at)[0]
    assert found == pytest.approx(fitted.predict(at).to_numpy())


def test_beyond_follow_up_there_is_no_estimate_unless_all_had_the_event():
    time, event = np.array([1.0, 2.0, 3.0]), np.array([True, True, False])
    assert np.isnan(free_of_event(time, event, np.ones((1, 3)), np.array([4.0]))[0, 0])
    assert free_of_event(time, np.ones(3, bool), np.ones((1, 3)), np.array([4.0]))[0, 0] == 0


def test_band_holds_the_estimate_and_is_wider_where_two_eyes_are_one_person():
    _, time, event = cohort()
    at = np.array([300.0])
    alone = curve(time, event, people(len(time)), at)
    time, event = np.repeat(time, 2), np.repeat(event, 2)
    twins = curve(time, event, people(len(time), 2), at)
    wrong = curve(time, event, people(len(time)), at)
    assert alone.low_T[0] < alone.free_T[0] < alone.high_T[0]
    assert twins.free_T[0] == pytest.approx(alone.free_T[0])
    assert wrong.high_T[0] - wrong.low_T[0] < 0.85 * (twins.high_T[0] - twins.low_T[0])


@pytest.mark.parametrize("seed", range(5))
def test_limits_hold_the_estimate_and_have_no_zero_width_wherever_there_is_one(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(6, 40)) * 2
    _, time, event = cohort(count, seed)
    event &= rng.random(count) < rng.random()
    found = curve(time, event, people(count, 2), np.linspace(1, 1600, 100))
    some_T = ~np.isnan(found.free_T)
    assert some_T.any() and (np.isnan(found.low_T) == ~some_T).all()
    assert (found.low_T[some_T] <= found.free_T[some_T] + 1e-12).all()
    assert (found.free_T[some_T] <= found.high_T[some_T] + 1e-12).all()
    assert (found.high_T[some_T] - found.low_T[some_T] > 0.01).all()


def test_few_subjects_have_no_band():
    found = curve(np.array([1.0, 2, 3]), np.ones(3, bool), people(3), np.array([1.5]))
    assert found.free_T[0] == pytest.approx(2 / 3) and np.isnan(found.low_T[0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [2, 3])
def test_log_rank_is_that_of_lifelines(seed, groups):
    group, time, event = cohort(seed=seed)
    group = np.minimum(group, groups - 1)
    found, expected = log_rank(group, time, event, people(len(time))), multivariate_logrank_test(time, group, event)
    assert (found.statistic, found.p) == pytest.approx((expected.test_statistic, expected.p_value))
    assert found.freedom == groups - 1 and not found.robust


def test_doubled_eyes_do_not_make_the_test_more_certain():
    group, time, event = cohort(seed=1)
    alone = log_rank(group, time, event, people(len(time)))
    doubled = [np.repeat(values, 2) for values in (group, time, event)]
    twins, wrong = log_rank(*doubled, people(2 * len(time), 2)), log_rank(*doubled, people(2 * len(time)))
    assert twins.robust
    assert twins.statistic == pytest.approx(alone.statistic, rel=0.35)
    assert wrong.statistic == pytest.approx(2 * alone.statistic, rel=0.1)


def test_equal_groups_are_found_different_as_often_as_the_level_says():
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        frailty = np.repeat(rng.gamma(2, 0.5, 60), 2)  # eyes of a person are alike
        seen, lost = rng.exponential(800 / frailty), rng.uniform(100, 1500, 120)
        group = np.repeat(rng.integers(0, 2, 60), 2)
        found.append(log_rank(group, np.minimum(seen, lost), seen <= lost, people(120, 2)).p < 0.05)
    assert 0.02 <= np.mean(found) <= 0.09


@pytest.mark.parametrize(("events", "groups", "why"), [(0, 3, "no event among"), (1, 1, "one risk group")])
def test_where_there_is_nothing_to_test_the_reason_is_said(events, groups, why):
    group, time, _ = cohort()
    found = log_rank(np.minimum(group, groups - 1), time, np.full(len(time), bool(events)), people(len(time)))
    assert isinstance(found, str) and why in found
