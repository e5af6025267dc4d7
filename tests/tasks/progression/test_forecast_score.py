"""Head `published` is measured among samples of equal intervals: what the interval alone tells is no merit."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from visionfm.metrics.subjects import Subjects
from visionfm.tasks.progression import score
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.score import measures

TARGET = TargetSpec(type="binary", classes=["stable", "progressed"])
YEARS = np.array([182.0, 365.0, 730.0, 1095.0, 1460.0])


def measured(event_N, days_N, score_N, subject_N=None):
    """Return metric -> measure of these samples; each is a person unless `subject_N` says otherwise."""
    subject_N = np.arange(len(event_N)).astype(str) if subject_N is None else subject_N
    truth_NK, score_NK = np.stack([event_N, days_N], axis=1), score_N[:, None]
    chosen = score.thresholds(TARGET, truth_NK, score_NK, {})
    found = measures(TARGET, truth_NK, score_NK, Subjects.of(subject_N), chosen, score.scorers)
    return {one.metric: one for one in found if one.point is None}


def eyes(count=300, seed=0):
    """Return people asked at five intervals each: outcomes depend on the interval alone, and a score knows it."""
    rng = np.random.default_rng(seed)
    days_N = np.tile(YEARS, count)
    event_N = (rng.random(len(days_N)) < days_N / 1700).astype(float)
    score_N = days_N / 1600 + rng.normal(0, 0.02, len(days_N))
    return event_N, days_N, 1 / (1 + np.exp(-score_N)), np.repeat(np.arange(count), 5).astype(str)


def test_a_score_that_knows_the_interval_alone_is_guessing_within_equal_intervals():
    found = measured(*eyes(seed=4))
    within, alone = found["auroc_within_intervals"], found["auroc_of_interval"]
    assert found["auroc"].value > 0.7 and alone.value > 0.7
    assert within.value == pytest.approx(0.5, abs=0.04) and within.interval.low < 0.5 < within.interval.high


def test_it_is_the_mean_over_intervals_weighted_by_their_pairs():
    event_N, days_N, _, _ = eyes(seed=1)
    score_N = 1 / (1 + np.exp(-(event_N + np.random.default_rng(2).normal(size=len(event_N)))))
    areas, pairs = [], []
    for days in YEARS:
        of_N = days_N == days
        areas.append(roc_auc_score(event_N[of_N], score_N[of_N]))
        pairs.append(event_N[of_N].sum() * (1 - event_N[of_N]).sum())
    found = measured(event_N, days_N, score_N)
    assert found["auroc_within_intervals"].value == pytest.approx(np.average(areas, weights=pairs))
    assert found["auroc_of_interval"].value == pytest.approx(roc_auc_score(event_N, days_N))


def test_visits_some_days_early_or_late_are_still_of_one_interval():
    event_N, days_N, score_N, _ = eyes(60)
    late_N = days_N + np.random.default_rng(0).integers(-14, 15, len(days_N))
    assert measured(event_N, late_N, score_N)["auroc_within_intervals"].value == pytest.approx(
        measured(event_N, days_N, score_N)["auroc_within_intervals"].value
    )


def test_samples_without_another_outcome_near_their_interval_are_counted_as_left_out():
    event_N, days_N = np.tile([0.0, 1.0], 20), np.repeat([365.0, 730.0], 20)
    event_N[20:] = 1
    one = measured(event_N, days_N, np.linspace(0.1, 0.9, 40))["auroc_within_intervals"]
    assert (one.n, one.n_positive) == (20, 10)
    assert one.reason == "20 of 40 left out: no other outcome within a quarter of a year of their interval"


def test_where_each_interval_has_one_outcome_there_is_a_reason_instead_of_a_number():
    event_N, days_N = np.repeat([0.0, 1.0], 20), np.repeat([365.0, 730.0], 20)
    one = measured(event_N, days_N, np.linspace(0.1, 0.9, 40))["auroc_within_intervals"]
    assert np.isnan(one.value) and "no quarter of a year of intervals has both" in one.reason


def test_few_people_with_the_condition_near_others_have_no_interval():
    event_N, days_N = np.zeros(60), np.full(60, 365.0)
    event_N[:3] = 1
    found = measured(event_N, days_N, np.linspace(0.1, 0.9, 60))["auroc_within_intervals"].interval
    assert found.low is None and "fewer than five subjects with the condition" in found.reason
