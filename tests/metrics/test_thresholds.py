"""Thresholds from validation data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionfm.metrics.binary import threshold_reaching, youden_threshold

samples = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.2, 0.5, 0.9]) | st.floats(0, 1)), min_size=1)


@settings(max_examples=200, deadline=None)
@given(samples)
def test_no_threshold_has_a_larger_youden_index_than_the_chosen_one(pairs: list[tuple[bool, float]]) -> None:
    truth, score = np.array(pairs, dtype=float).T
    chosen = youden_threshold(truth, score)
    if len(set(truth)) < 2:
        assert isinstance(chosen, str)
        return

    def youden(threshold: float) -> float:
        call = score >= threshold
        return float(call[truth == 1].mean() - call[truth == 0].mean())

    assert isinstance(chosen, float)
    best = max(youden(threshold) for threshold in [*score, 2.0])
    assert youden(chosen) == pytest.approx(best, abs=1e-12)
    assert not any(youden(other) >= best - 1e-12 for other in score if (score >= other).sum() > (score >= chosen).sum())


def test_the_threshold_lies_between_the_classes_where_they_are_apart() -> None:
    assert youden_threshold(np.array([0.0, 0, 1, 1, np.nan]), np.array([0.1, 0.2, 0.6, 0.9, 0.4])) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        ([0.0, 0.0], "no positive case among 2 known in the validation split"),
        ([1.0], "no negative case among 1 known in the validation split"),
        ([np.nan], "no validation sample with a known answer"),
        ([], "no validation sample with a known answer"),
    ],
)
def test_validation_data_of_one_class_choose_no_threshold_and_say_why(truth: list[float], reason: str) -> None:
    assert youden_threshold(np.array(truth), np.full(len(truth), 0.5)) == f"no threshold: {reason}"


@settings(max_examples=60, deadline=None)
@given(samples, st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]))
def test_a_wanted_sensitivity_or_specificity_is_reached_by_the_threshold_that_gives_up_least(
    pairs: list[tuple[bool, float]], least: float
) -> None:
    truth, score = np.array(pairs, dtype=float).T
    for metric, kind in (("sensitivity", 1), ("specificity", 0)):
        chosen = threshold_reaching(metric, least, truth, score)
        if len(set(truth)) < 2:
            assert isinstance(chosen, str)
            continue

        def reached(threshold: float, of: int) -> float:
            return float(((score >= threshold) == of)[truth == of].mean())

        others = [float(value) for value in np.unique(score)]
        if isinstance(chosen, str):
            assert metric == "specificity" and not any(reached(at, 0) >= least for at in others)
            continue
        assert reached(chosen, kind) >= least - 1e-12
        better = [at for at in others if reached(at, kind) >= least - 1e-12]
        assert reached(chosen, 1 - kind) == max(reached(at, 1 - kind) for at in better)


def test_a_threshold_reaching_a_sensitivity_is_that_of_a_roc_curve() -> None:
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(0)
    truth = (rng.random(300) < 0.3).astype(float)
    score = np.clip(0.3 + 0.2 * truth + 0.2 * rng.normal(size=300), 0, 1)
    false, found, _ = roc_curve(truth, score, drop_intermediate=False)
    chosen = threshold_reaching("sensitivity", 0.95, truth, score)
    assert isinstance(chosen, float)
    assert (score >= chosen)[truth == 0].mean() == pytest.approx(false[found >= 0.95].min())
    assert "validation would call nobody positive" in str(threshold_reaching("specificity", 1.0, truth, -score * truth))
