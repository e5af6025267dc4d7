"""Calibration is that of statsmodels' logistic regressions; its intervals cover, and chance is taken out of the ECE."""

import numpy as np
import pytest
from scipy.special import expit

from visionfm.metrics.calibration import METRICS, WITHOUT_INTERVAL, calibration, curve, log_odds


def drawn(seed: int, people: int, slope: float = 1.0, intercept: float = 0.0, images: int = 1):
    """Return outcomes, probabilities said and subject ids; true log odds are a line of those said."""
    rng = np.random.default_rng(seed)
    said = np.repeat(rng.normal(-0.5, 1.3, people), images) + 0.3 * rng.normal(size=people * images)
    truth = (rng.random(people * images) < expit(intercept + slope * said)).astype(float)
    return truth, expit(said), np.repeat(np.arange(people), images)


def test_slope_and_intercept_are_those_of_statsmodels() -> None:
    sm = pytest.importorskip("statsmodels.api")
    truth, said, people = drawn(0, 150, slope=0.6, intercept=0.4, images=2)
    found, odds = calibration(truth, said, people), log_odds(said)
    line = sm.GLM(truth, sm.add_constant(odds), family=sm.families.Binomial())
    by_people = line.fit(cov_type="cluster", cov_kwds={"groups": people})
    assert found["calibration_slope"].value == pytest.approx(by_people.params[1], abs=1e-7)
    offset = sm.GLM(truth, np.ones((300, 1)), family=sm.families.Binomial(), offset=odds)
    level = offset.fit(cov_type="cluster", cov_kwds={"groups": people})
    assert found["calibration_intercept"].value == pytest.approx(level.params[0], abs=1e-7)
    # The sandwich, clustered by people, has nearly the jackknife's error.
    for metric, error in (("calibration_slope", by_people.bse[1]), ("calibration_intercept", level.bse[0])):
        assert np.linalg.norm(found[metric].influence_S) == pytest.approx(error, rel=0.04)


def test_the_ece_of_bins_by_hand() -> None:
    truth, said, people = drawn(1, 200)
    order = np.argsort(said)
    gaps = [abs(truth[part].mean() - said[part].mean()) for part in np.split(order, 10)]
    assert calibration(truth, said, people)["ece_plain"].value == pytest.approx(np.mean(gaps))
    assert calibration(truth, said, people)["calibration_in_the_large"].value == pytest.approx((truth - said).mean())


def test_equal_probabilities_share_a_bin() -> None:
    truth, people = np.tile([0.0, 1, 0, 0], 25), np.arange(100)
    found = calibration(truth, np.full(100, 0.25), people)
    assert found["ece_plain"].value == pytest.approx(0)
    assert found["calibration_slope"].reason == "no interval: all probabilities are the same"
    assert np.isnan(found["calibration_slope"].value)


def test_chance_alone_gives_the_plain_ece_but_not_the_ece() -> None:
    found = [calibration(*drawn(seed, 100)) for seed in range(200)]
    plain, chance, without = (
        np.mean([one[name].value for one in found]) for name in ("ece_plain", "ece_by_chance", "ece")
    )
    assert plain == pytest.approx(chance, rel=0.06) and without < 0.35 * plain
    off = [calibration(*drawn(seed, 400, 1.0, 1.0)) for seed in range(60)]
    true = np.mean([one["calibration_in_the_large"].value for one in off])  # all bins are too low
    assert np.mean([one["ece"].value for one in off]) == pytest.approx(true, rel=0.03)


def test_intervals_cover_people_with_two_eyes() -> None:
    slope, inside = 0.7, dict.fromkeys(("calibration_slope", "ece"), 0)
    truth, said, _ = drawn(0, 400_000, slope)
    rank = np.argsort(said)
    true_ece = np.mean([abs((truth - said)[part].mean()) for part in np.split(rank, 10)])
    for seed in range(200):
        found = calibration(*drawn(seed + 1, 60, slope, images=2))
        for metric, true in (("calibration_slope", slope), ("ece", true_ece)):
            one = found[metric]
            inside[metric] += one.low is not None and one.high is not None and one.low <= true <= one.high
    assert all(count >= 182 for count in inside.values()), inside


@pytest.mark.parametrize(
    ("truth", "said", "reason"),
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], "no positive case among 3 known"),
        ([1, 1, np.nan], [0.1, 0.2, 0.3], "no negative case among 2 known"),
        ([np.nan, np.nan, np.nan], [0.1, 0.2, 0.3], "no sample with a known answer"),
        ([0, 0, 1], [0.1, 0.2, 0.3], "probabilities separate all cases from all non-cases, so that the slope is"),
    ],
)
def test_a_slope_that_does_not_exist_says_why(truth: list[float], said: list[float], reason: str) -> None:
    found = calibration(np.array(truth), np.array(said), np.arange(3))["calibration_slope"]
    assert np.isnan(found.value) and (found.reason or "").startswith(f"no interval: {reason}")


def test_few_people_have_values_and_no_interval() -> None:
    truth, said = np.tile([0.0, 1, 1, 0], 4), np.linspace(0.2, 0.8, 16)
    found = calibration(truth, said, np.repeat(np.arange(4), 4))
    assert set(found) == set(METRICS)
    for metric, one in found.items():
        assert not np.isnan(one.value) and one.low is None
        assert one.reason == WITHOUT_INTERVAL.get(metric, "no interval: fewer than five subjects with the condition: 4")


def test_certain_probabilities_count_as_nearly_certain() -> None:
    truth, said, people = drawn(3, 100)
    said[:2] = [0.0, 1.0]
    assert all(np.isfinite(one.value) for one in calibration(truth, said, people).values())


def test_unknown_answers_do_not_count_and_people_keep_their_places() -> None:
    truth, said, people = drawn(4, 60)
    with_unknown = calibration(
        np.append(truth, [np.nan] * 3), np.append(said, [0.2, 0.9, 0.5]), np.append(people, [0, 70, 71])
    )
    for metric, one in calibration(truth, said, people).items():
        other = with_unknown[metric]
        assert (other.value, other.low, other.high) == (one.value, one.low, one.high)
        assert len(one.influence_S) in (0, 60) and len(other.influence_S) in (0, 62)


def test_a_curve_of_few_cases_is_the_logistic_line_and_its_band_the_sandwich() -> None:
    sm = pytest.importorskip("statsmodels.api")
    truth, said, people = drawn(5, 40, slope=0.6, images=2)
    found = curve(truth, said, people)
    model = sm.GLM(truth, sm.add_constant(log_odds(said)), family=sm.families.Binomial())
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": people}, use_t=False)
    assert found is not None
    expected = fit.get_prediction(sm.add_constant(log_odds(found.said_G)))
    np.testing.assert_allclose(found.observed_G, expected.predicted_mean, atol=1e-6)
    assert (found.low_G < found.observed_G).all() and (found.observed_G < found.high_G).all()


def test_the_band_holds_a_bent_truth() -> None:
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        odds = np.repeat(rng.normal(0, 1.2, 300), 2) + 0.3 * rng.normal(size=600)
        truth = (rng.random(600) < expit(odds - 0.35 * odds**2)).astype(float)
        found = curve(truth, expit(odds), np.repeat(np.arange(300), 2))
        assert found is not None
        at = np.searchsorted(found.said_G, [0.3, 0.5, 0.7])
        there = log_odds(found.said_G[at])
        held.append(
            (found.low_G[at] <= expit(there - 0.35 * there**2)) & (expit(there - 0.35 * there**2) <= found.high_G[at])
        )
    assert (np.mean(held, axis=0) >= 0.88).all()


def test_there_is_no_curve_where_probabilities_separate_all_cases() -> None:
    assert curve(np.repeat([0.0, 1.0], 20), np.linspace(0.1, 0.9, 40), np.arange(40)) is None
    assert curve(np.repeat([0.0, 1.0], [36, 4]), np.linspace(0.1, 0.9, 40)[::-1], np.arange(40)) is None
