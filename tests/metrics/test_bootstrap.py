"""The bootstrap over subjects, its intervals, and the threshold from validation data."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from visionfm.metrics.binary import Binary, youden_threshold
from visionfm.metrics.bootstrap import few_subjects_interval, interval, subject_draws
from visionfm.metrics.regression import Regression

SUBJECTS = ["b", "a", "c", "a", "b", "d", "e", "a"]


def all_draws(subjects: list[str], draws: int = 200, seed: int = 0, **options: int) -> np.ndarray:
    return np.concatenate(list(subject_draws(subjects, draws, seed, **options)))


def test_the_first_row_is_the_sample_itself_and_the_others_are_draws() -> None:
    weights_DN = all_draws(SUBJECTS, draws=7)
    assert weights_DN.shape == (8, len(SUBJECTS))
    assert (weights_DN[0] == 1).all()


def test_a_drawn_subject_brings_all_its_samples() -> None:
    weights_DN = all_draws(SUBJECTS)
    for subject in set(SUBJECTS):
        of_subject = weights_DN[:, [name == subject for name in SUBJECTS]]
        assert (of_subject == of_subject[:, :1]).all()


def test_every_draw_has_as_many_subjects_as_there_are() -> None:
    first = [SUBJECTS.index(subject) for subject in sorted(set(SUBJECTS))]
    assert (all_draws(SUBJECTS)[:, first].sum(axis=1) == len(first)).all()


def test_each_subject_is_drawn_once_on_average_and_left_out_as_often_as_it_should() -> None:
    subjects = [str(number) for number in range(50)]
    weights_DN = all_draws(subjects, draws=4000)[1:]
    assert np.abs(weights_DN.mean(axis=0) - 1).max() < 0.08
    assert (weights_DN == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(len(SUBJECTS))), st.integers(1, 2000))
def test_draws_depend_on_seed_and_subjects_alone_not_on_order_of_samples_or_chunks(
    order: list[int], chunk: int
) -> None:
    expected = all_draws(SUBJECTS, draws=40, seed=3)
    found = all_draws([SUBJECTS[number] for number in order], draws=40, seed=3, chunk_bytes=chunk)
    assert (found == expected[:, order]).all()


def test_a_further_sample_of_a_known_subject_leaves_the_draws_alone() -> None:
    assert (all_draws([*SUBJECTS, "a"])[:, :-1] == all_draws(SUBJECTS)).all()


def test_another_seed_or_another_subject_draws_differently() -> None:
    plain = all_draws(SUBJECTS)
    assert (plain != all_draws(SUBJECTS, seed=1)).any()
    assert (plain != all_draws([name.upper() for name in SUBJECTS])).any()
    assert (all_draws(["ab", "c"], 40) != all_draws(["a", "bc"], 40)).any()


def test_students_interval_of_one_image_a_subject_is_that_of_scipy() -> None:
    values_N = np.array([0.2, 0.5, 0.4])
    expected = ttest_1samp(values_N, 0).confidence_interval(0.95)
    assert few_subjects_interval(values_N, ["a", "b", "c"]) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("images", [(1, 1), (4, 4), (1, 2, 3)])
def test_students_interval_covers_the_truth_about_as_often_as_it_says(images: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    subject_N = np.repeat(np.arange(len(images)), images)
    covered = 0
    for _ in range(2000):
        values_N = rng.normal(0, 1, len(images))[subject_N] + rng.normal(0, 0.3, len(subject_N))
        found = few_subjects_interval(values_N, subject_N.astype(str).tolist())
        assert found is not None
        covered += found[0] <= 0 <= found[1]
    assert 0.90 < covered / 2000 < 0.97


@pytest.mark.parametrize(
    ("values", "subjects"), [([0.1, 0.2], ["a", "a"]), ([0.1] * 5, list("abcde")), ([1.0, 1.0], ["a", "b"]), ([], [])]
)
def test_one_subject_enough_subjects_or_equal_values_have_no_students_interval(
    values: list[float], subjects: list[str]
) -> None:
    assert few_subjects_interval(np.array(values), subjects) is None


def test_no_subjects_no_draws() -> None:
    assert all_draws([]).shape == (1, 0)


def test_ten_copies_of_each_subjects_samples_do_not_narrow_the_interval() -> None:
    generator = np.random.default_rng(0)
    truth, value = generator.normal(size=60), generator.normal(size=60)
    subjects = [str(number) for number in range(60)]

    def bounds(copies: int) -> tuple[float, float] | str:
        scorer = Regression(np.tile(truth, copies), np.tile(value, copies))
        return interval(scorer(all_draws(subjects * copies, draws=300))["mae", None][1:], 60)

    assert bounds(10) == pytest.approx(bounds(1), rel=1e-9)


@pytest.mark.parametrize("true_auroc", [0.76])
def test_the_interval_of_the_auroc_covers_the_truth_about_as_often_as_it_says(true_auroc: float) -> None:
    generator = np.random.default_rng(5)
    covered = 0
    subjects = [str(number) for number in range(150)]
    for _ in range(200):
        truth = (generator.random(150) < 0.4).astype(float)
        score = generator.normal(size=150) + truth  # AUROC = Phi(1 / sqrt 2) = 0.760
        values_D = Binary(truth, score, {})(all_draws(subjects, draws=200))["auroc", None]
        low, high = interval(values_D[1:], 150)
        covered += low <= true_auroc <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_the_interval_holds_the_middle_95_percent_of_the_draws() -> None:
    assert interval(np.arange(1001.0), 10) == pytest.approx((25.0, 975.0))


def test_draws_without_a_value_are_left_out_while_they_are_few() -> None:
    values_D = np.concatenate([np.arange(1001.0), np.full(50, np.nan)])
    assert interval(values_D, 10) == pytest.approx((25.0, 975.0))


@pytest.mark.parametrize(
    ("values_D", "subjects", "reason"),
    [
        (np.concatenate([np.zeros(94), np.full(6, np.nan)]), 10, "does not exist in 6 % of the bootstrap draws"),
        (np.zeros(100), 4, "at least 5 subjects are needed, found 4"),
        (np.zeros(0), 10, "no bootstrap draws"),
        (np.ones(100), 10, "give the same value, which says nothing of its spread"),
    ],
)
def test_where_there_is_no_interval_the_reason_is_given(values_D: np.ndarray, subjects: int, reason: str) -> None:
    found = interval(values_D, subjects)
    assert isinstance(found, str) and found.startswith("no interval: ") and reason in found


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


@pytest.mark.slow
def test_ten_thousand_samples_and_a_thousand_draws_take_seconds() -> None:
    generator = np.random.default_rng(0)
    truth, score = (generator.random(10_000) < 0.3).astype(float), generator.random(10_000)
    scorer = Binary(truth, score, {"0.5": score >= 0.5, "validation": score >= 0.3})
    started = time.process_time()
    for weights_DN in subject_draws([str(number // 2) for number in range(10_000)], 1000, 0):
        scorer(weights_DN)
    assert time.process_time() - started < 10
