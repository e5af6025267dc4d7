"""Maps of probabilities are those of scikit-learn, learn what was planted, and leave probabilities probabilities."""

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from visionfm.errors import DataError
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.slots import Slot, slots
from visionfm.tasks.vectors.calibration import Calibrator, fitted

METHODS = ("temperature", "platt", "isotonic")
YES_NO = slots({"sick": TargetSpec(type="binary", classes=["no", "yes"])})[0]
GRADE = slots({"grade": TargetSpec(type="multiclass", classes=["a", "b", "c"])})[0]


def answers(count: int = 4000, slope: float = 0.5, intercept: float = 0.0):
    """Return probabilities said (N, 1) and outcomes whose true log odds are a line of those said."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, count)
    return expit(odds)[:, None], (rng.random(count) < expit(intercept + slope * odds)).astype(float)


def mapped(how: str, slot: Slot, score_NK, truth_N, to=None):
    return Calibrator(how, fitted(how, slot, None, score_NK, truth_N))(slot, None, score_NK if to is None else to)


def test_platt_is_the_logistic_regression_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    said, truth = answers(intercept=-0.7)
    line = LogisticRegression(C=1e9, tol=1e-10).fit(logit(said), truth)
    np.testing.assert_allclose(
        mapped("platt", YES_NO, said, truth)[:, 0], line.predict_proba(logit(said))[:, 1], atol=1e-5
    )


def test_temperature_finds_the_planted_one() -> None:
    said, truth = answers(20_000, slope=0.4)
    (found,) = fitted("temperature", YES_NO, None, said, truth).values()
    assert found[0] == pytest.approx(0.4, abs=0.02)


def test_isotonic_is_that_of_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    said, truth = answers(300)
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(said[:, 0], truth)
    new = np.linspace(0, 1, 50)[:, None]
    np.testing.assert_allclose(mapped("isotonic", YES_NO, said, truth, new)[:, 0], model.predict(new[:, 0]), atol=1e-12)


def test_isotonic_of_several_classes_is_one_against_the_rest_divided_by_the_sum() -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(1)
    said = softmax(2 * rng.normal(size=(400, 3)), axis=1)
    truth = np.array([rng.choice(3, p=row) for row in said]).astype(float)
    each = [IsotonicRegression(out_of_bounds="clip").fit(said[:, k], truth == k).predict(said[:, k]) for k in range(3)]
    expected = np.stack(each, axis=1)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mapped("isotonic", GRADE, said, truth), expected, atol=1e-12)


@pytest.mark.parametrize("how", METHODS)
def test_several_classes_are_calibrated_and_add_up(how: str) -> None:
    rng = np.random.default_rng(2)
    odds = 1.5 * rng.normal(size=(3000, 3))
    true = softmax(odds + np.array([0.0, 0.8, -0.5]) * (how != "temperature"), axis=1)
    truth = np.array([rng.choice(3, p=row) for row in true]).astype(float)
    said = softmax(2.5 * odds, axis=1)
    found = mapped(how, GRADE, said, truth)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    picked = np.arange(3000), truth.astype(int)
    assert np.log(np.maximum(found[picked], 1e-9)).mean() > np.log(said[picked]).mean() + 0.1
    assert abs(found - true).mean() < 0.05 < abs(said - true).mean()


def test_platt_of_two_classes_is_that_of_a_yes_or_no() -> None:
    said, truth = answers(500, intercept=0.5)
    two = slots({"t": TargetSpec(type="multiclass", classes=["no", "yes"])})[0]
    both = np.concatenate([1 - said, said], axis=1)
    np.testing.assert_allclose(
        mapped("platt", two, both, truth)[:, [1]], mapped("platt", YES_NO, said, truth), atol=1e-5
    )


@pytest.mark.parametrize("how", METHODS)
def test_certain_answers_and_unknown_truths_are_taken(how: str) -> None:
    said, truth = answers(200)
    said[:2, 0], truth[5:9] = [0.0, 1.0], np.nan
    found = mapped(how, YES_NO, said, truth)
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_a_class_that_validation_lacks_is_an_error_that_says_what_to_do() -> None:
    said, truth = answers(50)
    with pytest.raises(DataError, match=r"cannot be calibrated by platt[\s\S]*calibrate: none"):
        fitted("platt", YES_NO, None, said, np.zeros(50))


def test_the_expected_grade_is_that_of_the_calibrated_probabilities() -> None:
    from visionfm.tasks.vectors.decoder import Loaded
    from visionfm.tasks.vectors.objective import Prediction

    rng = np.random.default_rng(3)
    said = softmax(3 * rng.normal(size=(200, 3)), axis=1)
    truth = rng.integers(0, 3, 200).astype(float)
    maps = fitted("temperature", GRADE, None, said, truth)
    loaded = Loaded(None, None, None, {}, Calibrator("temperature", maps))  # type: ignore[arg-type]
    before = Prediction(GRADE, None, 0, np.column_stack([said @ np.arange(3), said]), numbers=1)
    after = loaded.calibrated(before).values
    np.testing.assert_allclose(after[:, 0], after[:, 1:] @ np.arange(3))
    np.testing.assert_allclose(after[:, 1:].sum(axis=1), 1)
    assert (after[:, 1:].argmax(axis=1) == said.argmax(axis=1)).all() and after[:, 1:].max() < said.max()
