"""The band of an ROC curve is about people, and holds the curve."""

import numpy as np
from sklearn.metrics import roc_curve

from visionfm.metrics.roc import roc_band

AT_F = np.linspace(0, 1, 21)


def drawn(people: int, each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth_S = rng.random(people) < 0.4
    score_S = truth_S + rng.normal(size=people)
    return (
        np.repeat(truth_S, each).astype(float),
        np.repeat(score_S, each),
        np.repeat(np.arange(people), each).astype(str),
    )


def test_the_curve_is_that_of_sklearn_and_lies_in_its_band() -> None:
    truth_N, score_N, subject_N = drawn(150, 1)
    band = roc_band(truth_N, score_N, subject_N, AT_F)
    alarms, found, _ = roc_curve(truth_N, score_N, drop_intermediate=False)
    assert np.allclose(band.value_X, np.interp(AT_F, alarms, found))
    assert (band.low_X <= band.value_X).all() and (band.value_X <= band.high_X).all()
    assert 0.1 < (band.high_X - band.low_X)[4] < 0.5


def test_copies_of_a_persons_image_make_no_band_narrower() -> None:
    one, four = (roc_band(*drawn(80, each), AT_F) for each in (1, 4))
    assert np.allclose(one.low_X, four.low_X) and np.allclose(one.high_X, four.high_X)


def test_equal_scores_are_one_step_and_too_few_people_have_no_band() -> None:
    truth_N = np.array([1.0, 0.0, 1.0, 0.0])
    band = roc_band(truth_N, np.zeros(4), np.array(list("abcd")), AT_F)
    assert np.allclose(band.value_X, AT_F) and np.isnan(band.low_X).all()
