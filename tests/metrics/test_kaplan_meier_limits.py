"""Limits of Kaplan-Meier: exact without censoring, lifelines' where events are many, covered where they are few."""

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from scipy import special, stats

from visionfm.metrics.kaplan_meier_limits import limits


def people(count, eyes=1):
    return np.array([f"p{n // eyes:05d}" for n in range(count)], dtype=object)


def at(time, event, subjects, when):
    found = limits(np.asarray(time, float), np.asarray(event, bool), subjects, np.array([float(when)]))
    return float(found.low_T[0]), float(found.high_T[0]), bool(found.exact_T[0])


@pytest.mark.parametrize("events", [0, 1, 3, 9, 12])
def test_without_censoring_few_events_have_the_limits_of_clopper_and_pearson(events):
    time = np.where(np.arange(12) < events, 100, 900)
    exact = stats.binomtest(12 - events, 12).proportion_ci(method="exact")
    assert at(time, np.arange(12) < events, people(12), 730)[:2] == pytest.approx(tuple(exact))


def test_twelve_followed_just_so_long_are_known_to_be_free():
    low, high, exact = at([730] * 12, [False] * 12, people(12), 730)
    assert (1 - low, high, exact) == (pytest.approx(0.2646, abs=1e-4), 1.0, True)


def test_twenty_four_eyes_of_twelve_people_count_as_twelve():
    assert at([900] * 24, [False] * 24, people(24, 2), 730) == pytest.approx(
        at([900] * 12, [False] * 12, people(12), 730)
    )


def test_many_events_of_independent_people_have_about_the_limits_of_lifelines():
    rng = np.random.default_rng(0)
    seen, lost = rng.exponential(800, 400), rng.uniform(100, 1500, 400)
    time, event = np.minimum(seen, lost), seen <= lost
    fitted = KaplanMeierFitter().fit(time, event)
    own = fitted.confidence_interval_
    expected = own.loc[own.index <= 500].iloc[-1].to_numpy()
    low, high, exact = at(time, event, people(400), 500)
    assert not exact
    assert (low, high) == pytest.approx(expected, abs=2e-3)


def test_eyes_that_are_alike_widen_the_limits():
    rng = np.random.default_rng(1)
    time, event = rng.exponential(800, 60), rng.random(60) < 0.8
    low, high, _ = at(time, event, people(60), 500)
    twice = at(np.repeat(time, 2), np.repeat(event, 2), people(120, 2), 500)
    assert twice[:2] == pytest.approx((low, high), abs=1e-6)
    apart = at(np.repeat(time, 2), np.repeat(event, 2), people(120), 500)
    assert apart[1] - apart[0] < 0.8 * (high - low)


def test_four_people_have_no_limits_and_nobody_followed_none_either():
    assert np.isnan(at([900] * 4, [False] * 4, people(4), 730)[0])
    assert np.isnan(at([100] * 9, [False] * 9, people(9), 730)[0])


def test_all_with_the_event_have_an_honest_upper_limit():
    low, high, _ = at([100] * 12, [True] * 12, people(12), 730)
    assert (low, high) == (0.0, pytest.approx(0.2646, abs=1e-4))


def test_at_the_start_everybody_is_free():
    assert at([900] * 12, [False] * 12, people(12), 0)[:2] == (1.0, 1.0)


@pytest.mark.parametrize("count", [10, 20, 40])
@pytest.mark.parametrize("risk", [0.03, 0.1])
def test_low_risk_groups_are_covered(count, risk):
    rng, held = np.random.default_rng(count), 0
    for _ in range(300):
        shared = rng.normal(size=(count, 1))
        chance = special.ndtr(np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.normal(size=(count, 2))).ravel()
        event_at = np.log(chance) / np.log(1 - risk)
        until = np.minimum(rng.exponential(3.0, 2 * count), 1.5)
        low, high, _ = at(np.minimum(event_at, until), event_at <= until, people(2 * count, 2), 1)
        held += np.isnan(low) or low <= 1 - risk <= high
    assert held / 300 >= 0.93
