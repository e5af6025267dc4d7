"""Metrics against scikit-learn: unit weights give the plain metric, integer weights that of the repeated sample."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from visionfm.metrics.binary import Binary
from visionfm.metrics.jackknife import groups_of_samples, left_out
from visionfm.metrics.multiclass import Multiclass
from visionfm.metrics.regression import Regression
from visionfm.metrics.subjects import Subjects

EXACT = 1e-12
GRADES = 4
NAMES = [f"grade {k}" for k in range(GRADES)]
thoroughly = settings(max_examples=100, deadline=None)


def draws(columns: st.SearchStrategy[Any], most: int = 40) -> st.SearchStrategy[list[Any]]:
    """Samples with their weights: (sample, weight) pairs, weight 0 when a draw leaves it out."""
    return st.lists(st.tuples(columns, st.integers(0, 3)), min_size=1, max_size=most)


scores = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.5, 0.7, 1.0]) | st.floats(0, 1, width=32)
binary_samples = draws(st.tuples(st.sampled_from([0.0, 1.0]), scores))
graded_samples = draws(st.tuples(st.integers(0, GRADES - 1), st.integers(0, GRADES - 1)))
values = st.integers(-8, 8).map(float) | st.floats(-1e3, 1e3, width=32).map(lambda x: float(round(x, 3)))
value_samples = draws(st.tuples(values, values))


def unpacked(samples: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth, answer, weight = np.array([(*sample, weight) for sample, weight in samples], dtype=float).T
    return truth, answer, weight


def binary_oracle(truth: np.ndarray, score: np.ndarray, threshold: float) -> dict[tuple[str, str | None], float]:
    """What scikit-learn says of a plain sample; NaN where we say that there is no value."""
    nan = float("nan")
    positive, negative = bool((truth == 1).any()), bool((truth == 0).any())
    both = positive and negative
    call = (score >= threshold).astype(int)
    return {
        ("auroc", None): sk.roc_auc_score(truth, score) if both else nan,
        ("average_precision", None): sk.average_precision_score(truth, score) if both else nan,
        ("f1", "0.5"): sk.f1_score(truth, call) if positive else nan,
        ("sensitivity", "0.5"): sk.recall_score(truth, call) if positive else nan,
        ("specificity", "0.5"): sk.recall_score(truth, call, pos_label=0) if negative else nan,
        ("balanced_accuracy", "0.5"): sk.balanced_accuracy_score(truth, call) if both else nan,
        ("ppv", "0.5"): sk.precision_score(truth, call) if both and call.any() else nan,
        ("npv", "0.5"): sk.precision_score(truth, call, pos_label=0) if both and not call.all() else nan,
        **likelihood_ratios(truth, call),
        ("brier", None): sk.mean_squared_error(truth, score) if len(truth) else nan,
    }


def likelihood_ratios(truth: np.ndarray, call: np.ndarray) -> dict[tuple[str, str | None], float]:
    """What scikit-learn says of both; NaN where a class is missing or the ratio is infinite."""
    found = dict.fromkeys(("likelihood_ratio_positive", "likelihood_ratio_negative"), float("nan"))
    if len(set(truth)) == 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plus, minus = sk.class_likelihood_ratios(truth, call, labels=[0, 1], replace_undefined_by=np.nan)
        alarms, rejected = ((call == value) & (truth == 0) for value in (1, 0))
        found["likelihood_ratio_positive"] = plus if alarms.any() else np.nan
        found["likelihood_ratio_negative"] = minus if rejected.any() else np.nan
    return {(name, "0.5"): float(value) for name, value in found.items()}


def binary(truth: np.ndarray, score: np.ndarray) -> Binary:
    return Binary(truth, score, {"0.5": score >= 0.5})


def compare_binary(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> None:
    found = binary(truth, score)(np.stack([np.ones(len(truth)), weight]))
    for row, counts in enumerate((np.ones(len(truth), dtype=int), weight.astype(int))):
        repeated = np.repeat(np.arange(len(truth)), counts)
        for key, value in binary_oracle(truth[repeated], score[repeated], 0.5).items():
            assert found[key][row] == pytest.approx(value, abs=EXACT, nan_ok=True), key


@thoroughly
@given(binary_samples)
def test_binary_metrics_with_integer_weights_are_those_of_the_repeated_sample(samples: list[Any]) -> None:
    compare_binary(*unpacked(samples))


@pytest.mark.slow
def test_ranking_metrics_are_those_of_scikit_learn_on_a_thousand_random_samples() -> None:
    for seed in range(1000):
        generator = np.random.default_rng(seed)
        n = int(generator.integers(1, 300))
        truth = (generator.random(n) < generator.random() ** 2).astype(float)
        digits = int(generator.integers(1, 4))  # few digits: many ties
        score = np.clip(generator.normal(0.4 + 0.2 * truth, 0.2), 0, 1).round(digits)
        weight = generator.poisson(1, n)
        found = binary(truth, score)(weight[None, :].astype(float))
        y, p = np.repeat(truth, weight), np.repeat(score, weight)
        both = len(set(y)) == 2
        for metric, oracle in (("auroc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
            expected = oracle(y, p) if both else np.nan
            assert found[metric, None][0] == pytest.approx(expected, abs=EXACT, nan_ok=True), (metric, seed)


def test_brier_is_the_brier_score_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, score = (generator.random(200) < 0.3).astype(float), generator.random(200)
    assert binary(truth, score)(np.ones((1, 200)))["brier", None][0] == pytest.approx(
        sk.brier_score_loss(truth, score), abs=EXACT
    )


@thoroughly
@given(graded_samples)
def test_multiclass_metrics_with_integer_weights_are_those_of_the_repeated_sample(samples: list[Any]) -> None:
    truth, call, weight = unpacked(samples)
    found = Multiclass(truth, call.astype(int), NAMES, ordered=True)(np.stack([np.ones(len(truth)), weight]))
    for row, counts in enumerate((np.ones(len(truth), dtype=int), weight.astype(int))):
        repeated = np.repeat(np.arange(len(truth)), counts)
        y, p = truth[repeated], call[repeated]
        several = len(set(y)) > 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of calls of classes that do not occur
            expected = {
                "accuracy": sk.accuracy_score(y, p) if len(y) else np.nan,
                "balanced_accuracy": sk.balanced_accuracy_score(y, p) if several else np.nan,
                "quadratic_kappa": sk.cohen_kappa_score(y, p, labels=range(GRADES), weights="quadratic")
                if several
                else np.nan,
            }
        for metric, value in expected.items():
            assert found[metric, None][row] == pytest.approx(value, abs=EXACT, nan_ok=True), metric


@thoroughly
@given(value_samples)
def test_regression_metrics_with_integer_weights_are_those_of_the_repeated_sample(samples: list[Any]) -> None:
    truth, value, weight = unpacked(samples)
    found = Regression(truth, value)(np.stack([np.ones(len(truth)), weight]))
    for row, counts in enumerate((np.ones(len(truth), dtype=int), weight.astype(int))):
        repeated = np.repeat(np.arange(len(truth)), counts)
        y, p = truth[repeated], value[repeated]
        spread = len(set(y)) > 1
        pearson = np.corrcoef(y, p)[0, 1] if spread and len(set(p)) > 1 else np.nan
        expected = {
            "mae": sk.mean_absolute_error(y, p) if len(y) else np.nan,
            "rmse": sk.root_mean_squared_error(y, p) if len(y) else np.nan,
            "r2": sk.r2_score(y, p) if spread else np.nan,
            "pearson": pearson,
        }
        for metric, wanted in expected.items():
            if metric in ("r2", "pearson") and nearly_constant(truth, value, y, p):
                continue
            exact = 1e-9 if metric in ("r2", "pearson") else EXACT
            assert found[metric, None][row] == pytest.approx(wanted, rel=exact, abs=exact, nan_ok=True), metric


def nearly_constant(truth: np.ndarray, value: np.ndarray, y: np.ndarray, p: np.ndarray) -> bool:
    """Return whether a draw varies far less than it lies off the mean: sums keep half of their digits then."""
    return len(y) > 0 and any(
        np.std(drawn) < 1e-4 * np.abs(drawn - whole.mean()).max() for drawn, whole in ((y, truth), (p, value))
    )


def test_regression_metrics_equal_scikit_learn_to_the_last_digits_on_ordinary_data() -> None:
    generator = np.random.default_rng(1)
    truth = generator.normal(280, 40, 500)
    value = 0.7 * truth + generator.normal(80, 20, 500)
    found = Regression(truth, value)(np.ones((1, 500)))
    assert found["mae", None][0] == pytest.approx(sk.mean_absolute_error(truth, value), rel=EXACT)
    assert found["rmse", None][0] == pytest.approx(sk.root_mean_squared_error(truth, value), rel=EXACT)
    assert found["r2", None][0] == pytest.approx(sk.r2_score(truth, value), abs=EXACT)
    assert found["pearson", None][0] == pytest.approx(np.corrcoef(truth, value)[0, 1], abs=EXACT)


BOTH_KINDS = {
    "auroc", "average_precision", "balanced_accuracy", "ppv", "npv", "likelihood_ratio_positive",
    "likelihood_ratio_negative",
}  # fmt: skip
WITHOUT_POSITIVES = BOTH_KINDS | {"f1", "sensitivity"}
WITHOUT_NEGATIVES = BOTH_KINDS | {"specificity"}
WITHOUT_TRUTH = WITHOUT_POSITIVES | WITHOUT_NEGATIVES | {"brier", "brier_prevalence"}


@pytest.mark.parametrize(
    ("truth", "without_value", "reason"),
    [
        ([0, 0, 0], WITHOUT_POSITIVES, "no positive case among 3 known"),
        ([1, 1], WITHOUT_NEGATIVES, "no negative case among 2 known"),
        ([1], WITHOUT_NEGATIVES, "no negative case among 1 known"),
        ([], WITHOUT_TRUTH, "no sample with a known answer"),
        ([np.nan, np.nan], WITHOUT_TRUTH, "no sample with a known answer"),
    ],
)
def test_a_binary_metric_without_a_value_says_why(truth: list[float], without_value: set[str], reason: str) -> None:
    scorer = binary(np.array(truth, dtype=float), np.linspace(0.2, 0.9, len(truth)))
    found = scorer(np.ones((2, len(truth))))
    assert {metric for (metric, _), values_D in found.items() if np.isnan(values_D).all()} == without_value
    for metric, _ in found:
        assert scorer.why_undefined(metric) == (reason if metric in without_value else None)


def test_a_call_that_does_not_exist_has_no_value_and_the_other_keeps_its_own() -> None:
    truth, score = np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.4, 0.9])
    found = Binary(truth, score, {"validation": None, "0.5": score >= 0.5})(np.ones((1, 3)))
    assert np.isnan(found["sensitivity", "validation"][0])
    assert found["sensitivity", "0.5"][0] == 0.5


def test_equal_scores_give_an_auroc_of_one_half_and_the_prevalence_as_precision() -> None:
    found = binary(np.array([0.0, 1.0, 0.0, 0.0]), np.full(4, 0.3))(np.ones((1, 4)))
    assert found["auroc", None][0] == 0.5
    assert found["average_precision", None][0] == 0.25


def test_unknown_truths_change_nothing() -> None:
    truth, score = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.4, 0.5])
    masked = binary(np.append(truth, np.nan), np.append(score, 0.7))(np.ones((1, 5)))
    plain = binary(truth, score)(np.ones((1, 4)))
    assert {key: v[0] for key, v in masked.items()} == pytest.approx(
        {key: v[0] for key, v in plain.items()}, nan_ok=True
    )
    regression = Regression(np.append(truth, np.nan), np.append(score, 7.0))(np.ones((1, 5)))
    assert regression["mae", None][0] == Regression(truth, score)(np.ones((1, 4)))["mae", None][0]


@pytest.mark.parametrize(
    ("truth", "value", "metric", "reason"),
    [
        ([3.0], [2.0], "r2", "fewer than two samples with a known answer"),
        ([3.0, 3.0], [2.0, 3.0], "r2", "all 2 true values are the same"),
        ([0.1, 0.1, 0.1], [2.0, 3.0, 4.0], "pearson", "all 3 true values are the same"),
        ([1.0, 2.0], [0.1, 0.1], "pearson", "all 2 predicted values are the same"),
        ([np.nan], [0.1], "mae", "no sample with a known answer"),
    ],
)
def test_a_regression_metric_without_a_value_says_why(
    truth: list[float], value: list[float], metric: str, reason: str
) -> None:
    scorer = Regression(np.array(truth), np.array(value))
    assert np.isnan(scorer(np.ones((1, len(truth))))[metric, None][0])
    assert scorer.why_undefined(metric) == reason


def test_a_single_sample_still_has_its_error() -> None:
    found = Regression(np.array([3.0]), np.array([2.5]))(np.ones((1, 1)))
    assert found["mae", None][0] == found["rmse", None][0] == 0.5


def test_one_grade_alone_has_an_accuracy_but_no_kappa() -> None:
    scorer = Multiclass(np.array([2.0, 2.0, np.nan]), np.array([2, 1, 0]), NAMES, ordered=True)
    found = scorer(np.ones((1, 3)))
    assert found["accuracy", None][0] == 0.5
    assert np.isnan(found["quadratic_kappa", None][0])
    assert scorer.why_undefined("quadratic_kappa") == "only one class among 2 known"


def test_classes_without_order_have_no_kappa() -> None:
    found = Multiclass(np.array([0.0, 1.0]), np.array([0, 1]), NAMES[:2], ordered=False)(np.ones((1, 2)))
    assert {metric for metric, _ in found} == {"accuracy", "balanced_accuracy"}


def test_a_miss_by_two_grades_costs_kappa_more_than_a_miss_by_one() -> None:
    truth = np.array([0.0, 1.0, 2.0, 3.0])

    def kappa(call: list[int]) -> float:
        return float(
            Multiclass(truth, np.array(call), NAMES, ordered=True)(np.ones((1, 4)))["quadratic_kappa", None][0]
        )

    assert kappa([0, 1, 2, 3]) == 1
    assert 1 > kappa([1, 1, 2, 3]) > kappa([2, 1, 2, 3]) > kappa([3, 1, 2, 3])


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_without_each_group_is_that_of_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 600))  # more than 200 people are left out in groups
    truth = (rng.random(count) < rng.random()) * 1.0
    truth[rng.random(count) < 0.1] = np.nan
    score = np.round(rng.random(count), int(rng.integers(1, 4)))  # some are equal
    subjects = Subjects.of(np.array([f"p{n}" for n in rng.integers(0, max(1, count // 2), count)]))
    scorer = Binary(truth, score, {})
    counted_again = np.concatenate([scorer(weights_JN)["average_precision", None] for weights_JN in left_out(subjects)])
    quick = scorer.without_each(*groups_of_samples(subjects))["average_precision", None]
    assert quick == pytest.approx(counted_again, rel=1e-12, nan_ok=True)
