"""Net benefit and risk by coverage by hand; conformal sets hold the truth as often as they promise."""

import numpy as np
import pytest
from scipy.special import softmax

from visionfm.metrics.decisions import (
    conformal,
    conformal_limit,
    conformal_sets,
    net_benefit,
    risk_by_coverage,
    treat_all,
)
from visionfm.metrics.subjects import Subjects


def test_net_benefit_is_true_positives_less_weighted_false_ones() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(400)
    truth = (rng.random(400) < said).astype(float)
    at = np.array([0.1, 0.25, 0.6])
    found = net_benefit(truth, said, np.arange(400), at)
    for place, t in enumerate(at):
        called = said >= t
        by_hand = (called & (truth == 1)).sum() / 400 - (called & (truth == 0)).sum() / 400 * t / (1 - t)
        assert found.value_X[place] == pytest.approx(by_hand)
        assert found.low_X[place] < by_hand < found.high_X[place]
    everybody = net_benefit(truth, np.ones(400), np.arange(400), at).value_X
    np.testing.assert_allclose(everybody, treat_all(truth.mean(), at))


def test_the_band_of_net_benefit_covers_people_with_two_eyes() -> None:
    inside, at = 0, np.array([0.3])
    for seed in range(300):
        rng = np.random.default_rng(seed)
        risk = np.repeat(rng.random(60), 2)
        truth = (np.repeat(rng.random(60), 2) < risk).astype(float)  # both eyes alike
        found = net_benefit(truth, risk, np.repeat(np.arange(60), 2), at)
        # Of uniform risks: the integral over r > t of r - (1 - r) t / (1 - t).
        true = (1 - 0.3**2) / 2 - 3 / 7 * (0.7**2) / 2
        inside += found.low_X[0] <= true <= found.high_X[0]
    assert 0.9 <= inside / 300 <= 0.99


def test_risk_falls_with_what_is_left_out_and_ties_count_as_their_mean() -> None:
    wrong, confidence = np.array([0, 0, 1, 0, 1, 1], bool), np.array([0.9, 0.9, 0.8, 0.8, 0.6, 0.6])
    found = risk_by_coverage(wrong, confidence, np.arange(6), np.array([1 / 3, 0.5, 1.0]))
    np.testing.assert_allclose(found.value_X, [0, 0.5 / 3, 0.5])
    other = np.array([1, 0, 3, 2, 5, 4])
    again = risk_by_coverage(wrong[other], confidence[other], np.arange(6), np.array([1 / 3, 0.5, 1.0]))
    np.testing.assert_allclose(found.value_X, again.value_X)


def people(rng: np.random.Generator, count: int, images: int):
    """Return classes, wrong probabilities of them, and subjects whose samples are alike."""
    odds = np.repeat(rng.normal(0, 1.5, (count, 3)), images, axis=0) + 0.5 * rng.normal(size=(count * images, 3))
    truth = (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)
    return truth, softmax(2 * odds, axis=1), np.repeat(np.arange(count), images)


@pytest.mark.parametrize("images", [1, 2])
def test_sets_hold_the_truth_as_often_as_promised_over_a_thousand_splits(images: int) -> None:
    rng, covered = np.random.default_rng(images), []
    for _ in range(1000):
        truth, said, person = people(rng, 200, images)
        inside = person < 150
        limit = conformal_limit(truth[inside], said[inside], person[inside], 0.9)
        sets = conformal_sets(said[~inside], limit)
        subjects = Subjects.of(person[~inside])
        covered.append(conformal(sets, truth[~inside], subjects)["conformal_coverage"].value)
    assert abs(np.mean(covered) - 0.9) < 0.01


def test_few_people_promise_nothing_less_than_all_classes() -> None:
    truth, said, person = people(np.random.default_rng(0), 8, 2)
    limit = conformal_limit(truth, said, person, 0.9)
    assert limit == -np.inf and conformal_sets(said, limit).all()


def test_the_limit_is_the_quantile_of_split_conformal_prediction() -> None:
    truth, said, person = people(np.random.default_rng(1), 99, 1)
    off = np.sort(1 - said[np.arange(99), truth])
    assert conformal_limit(truth, said, person, 0.9) == pytest.approx(1 - off[89])  # the 90th of 99
