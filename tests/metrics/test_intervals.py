"""Intervals: known formulas where samples are independent, honest at the edges, covered where people have two eyes."""

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from visionfm.metrics.binary import Binary
from visionfm.metrics.evidence import Interval, LeftOut, Mean, Members, Ranking, Ratio, Share
from visionfm.metrics.intervals import MOST_WIDENED, interval, out_of_fold, t_quantile
from visionfm.metrics.jackknife import left_out
from visionfm.metrics.placements import placements
from visionfm.metrics.scales import scale_of


def people(count, eyes=1):
    return np.array([f"p{n // eyes:05d}" for n in range(count)], dtype=object)


def question(count=80, seed=0, apart=1.0):
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.4).astype(float)
    return truth, np.round(apart * truth + rng.normal(size=count), 1)  # some scores are equal


def kernel(truth, score):
    """Return all pairs of a positive and a negative: 1 right, a half tied, 0 wrong."""
    positive, negative = score[truth == 1], score[truth == 0]
    return (positive[:, None] > negative).astype(float) + (positive[:, None] == negative) / 2


# --- AUROC ------------------------------------------------------------------------------------------------------------


def test_auroc_of_independent_eyes_has_the_variance_of_delong():
    truth, score = question()
    pairs = kernel(truth, score)
    textbook = pairs.mean(1).var(ddof=1) / len(pairs) + pairs.mean(0).var(ddof=1) / pairs.shape[1]
    found = placements(truth, score, np.arange(len(truth)), len(truth))
    assert found.value == pytest.approx(roc_auc_score(truth, score))
    assert found.variance() == pytest.approx(textbook)


def test_auroc_of_several_eyes_has_the_variance_of_obuchowski():
    truth, score = question(120, seed=1)
    owner = np.arange(120) // 3
    pairs = kernel(truth, score)
    placed = np.empty(120)
    placed[truth == 1], placed[truth == 0] = pairs.mean(1), pairs.mean(0)
    m, n = pairs.shape
    sums = {k: [sum(placed[i] - pairs.mean() for i in range(120) if owner[i] == s and truth[i] == k)
                for s in range(40)] for k in (1, 0)}  # fmt: skip
    having = {k: len(set(owner[truth == k])) for k in (1, 0)}
    s10 = having[1] / ((having[1] - 1) * m) * sum(x * x for x in sums[1])
    s01 = having[0] / ((having[0] - 1) * n) * sum(y * y for y in sums[0])
    s11 = 40 / 39 * sum(x * y for x, y in zip(sums[1], sums[0], strict=True))
    variance = s10 / m + s01 / n + 2 * s11 / (m * n)
    assert placements(truth, score, owner, 40).variance() == pytest.approx(variance)
    found = interval("auroc", Ranking(truth, score), people(120, 3))
    reach = stats.t.ppf(0.975, min(having.values()) - 1) * np.sqrt(variance) / (pairs.mean() * (1 - pairs.mean()))
    place = special.logit(pairs.mean())
    assert (found.low, found.high) == pytest.approx(special.expit([place - reach, place + reach]))


def test_auroc_needs_five_people_with_the_condition_not_five_eyes():
    truth = np.repeat([1.0, 0.0], [8, 32])
    found = interval("auroc", Ranking(truth, np.arange(40.0)), people(40, 2))
    assert found.low is None
    assert found.reason == "no interval: fewer than five subjects with the condition: 4"
    few = interval("auroc", Ranking(1 - truth, np.arange(40.0)), people(40, 2))
    assert few.reason == "no interval: fewer than five subjects without the condition: 4"


def test_perfect_auroc_is_not_certain():
    found = interval("auroc", Ranking(np.repeat([0.0, 1.0], 12), np.arange(24.0)), people(24))
    assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 12), 1.0))


def test_auroc_of_equal_scores_has_no_interval():
    found = interval("auroc", Ranking(np.repeat([0.0, 1.0], 12), np.full(24, 0.3)), people(24))
    assert found.low is None
    assert "alike" in found.reason


def test_unknown_truths_do_not_count():
    truth, score = question()
    known = interval("auroc", Ranking(truth, score), people(80))
    more = interval("auroc", Ranking(np.append(truth, [np.nan] * 9), np.append(score, [5.0] * 9)), people(89))
    assert (more.low, more.high) == pytest.approx((known.low, known.high))


# --- proportions ------------------------------------------------------------------------------------------------------


def share(hits, count, eyes=1):
    return interval("sensitivity", Share(np.arange(count) < hits, np.ones(count, bool)), people(count, eyes))


def test_proportion_of_independent_eyes_is_wilsons_but_for_the_estimated_design_effect():
    found, wilson = share(30, 40), stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx(tuple(wilson), abs=0.004)


def test_none_of_twelve_has_the_exact_upper_limit():
    exact = stats.binomtest(0, 12).proportion_ci(method="exact")
    found = share(0, 12)
    assert (found.low, found.high) == pytest.approx(tuple(exact))
    assert found.high == pytest.approx(0.265, abs=5e-4)
    eyes = share(0, 24, eyes=2)
    assert eyes.high == pytest.approx(found.high)  # twenty-four eyes of twelve people


def test_two_eyes_that_are_always_alike_count_as_one():
    once, twice = share(15, 20), share(30, 40, eyes=2)
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.1)


def test_proportion_names_whom_it_lacks():
    hits, of = np.ones(30, bool), np.arange(30) < 4
    assert interval("ppv", Share(hits, of), people(30)).reason.endswith("fewer than five subjects called positive: 4")


def test_f1_is_a_proportion_of_all_that_is_positive_or_called():
    truth, score = question()
    called, positive = score > 0.5, truth == 1
    found = interval("f1", Share(called & positive, called | positive), people(80))
    value = Binary(truth, score, {None: called})(np.ones((1, 80)))["f1", None][0]
    assert found.value == pytest.approx(value)
    assert found.low < value < found.high
    jaccard = interval("jaccard", Share(called & positive, called | positive), people(80))
    assert found.low == pytest.approx(2 * jaccard.low / (1 + jaccard.low))


# --- means over images ------------------------------------------------------------------------------------------------


def test_mean_of_symmetric_errors_is_close_to_students_t():
    value = np.tile([8.0, 12.0], 50)
    found = interval("mre", Mean(value), people(100))
    student = stats.t.interval(0.95, 99, value.mean(), stats.sem(value))
    assert (found.low, found.high) == pytest.approx(student, abs=0.01)


def test_mean_leaves_its_bounds_never_and_unknown_images_out():
    value = np.array([0.99, 0.98, 0.2, np.nan, 0.97, 0.99, 0.96])
    found = interval("dice", Mean(value), people(7))
    assert found.value == pytest.approx(np.nanmean(value))
    assert 0 <= found.low < found.value < found.high <= 1


def test_four_subjects_have_no_interval_and_five_a_wide_one():
    value = np.array([0.8, 0.9, 0.7, 0.85, 0.6])
    assert "fewer than five subjects" in interval("dice", Mean(value[:4]), people(4)).reason
    found = interval("dice", Mean(value), people(5))
    assert found.high - found.low > 2 * stats.t.ppf(0.975, 4) * stats.sem(value)


@pytest.mark.parametrize("metric", ["dice", "mre"])
def test_equal_images_give_no_interval(metric):
    assert "alike" in interval(metric, Mean(np.full(9, 0.7)), people(9)).reason


def test_all_points_found_is_a_proportion_with_an_exact_limit():
    found = interval("success_rate", Mean(np.ones(20)), people(20))
    assert (found.low, found.high) == pytest.approx((0.025**0.05, 1.0))


def test_rmse_is_the_root_of_a_mean():
    square = np.random.default_rng(0).exponential(size=40)
    found, mean = interval("rmse", Mean(square), people(40)), interval("mae", Mean(square), people(40))
    assert (found.value, found.low, found.high) == pytest.approx(np.sqrt([mean.value, mean.low, mean.high]))


def test_a_value_out_of_bounds_is_an_error_not_an_interval():
    with pytest.raises(ValueError, match="expected 0.0 to 1.0"):
        interval("dice", Mean(np.arange(9.0)), people(9))


# --- others -----------------------------------------------------------------------------------------------------------


def test_leaving_out_gives_the_jackknife_of_a_mean():
    value = np.random.default_rng(1).normal(0.5, 0.1, 30)
    weights = np.concatenate(list(left_out(people(30))))
    assert weights.shape == (31, 30)
    left = weights @ value / weights.sum(1)
    found = interval("pearson", LeftOut(left, {}), people(30))
    assert found.influence_S @ found.influence_S == pytest.approx(stats.sem(value) ** 2)
    place, reach = np.arctanh(value.mean()), stats.sem(value) * t_quantile(29) / (1 - value.mean() ** 2)
    assert (found.low, found.high) == pytest.approx(np.tanh([place - reach, place + reach]))


def test_many_subjects_are_left_out_in_even_groups_with_all_their_eyes():
    weights = np.concatenate(list(left_out(people(1000, 2), chunk_bytes=50_000)))
    assert weights.shape == (201, 1000)
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert set((weights[1:] == 0).sum(1)) == {4, 6}  # two or three people
    assert ((weights[1:] == 0).sum(0) == 1).all()


def test_a_metric_that_hangs_on_one_subject_has_no_interval():
    left = np.full(31, 0.5)
    left[4] = np.nan
    assert "without some of the subjects" in interval("average_precision", LeftOut(left, {}), people(30)).reason


def test_other_metrics_need_five_with_the_condition_too():
    found = interval(
        "average_precision", LeftOut(np.full(31, 0.5), {"with the condition": np.arange(30) < 3}), people(30)
    )
    assert found.reason == "no interval: fewer than five subjects with the condition: 3"


@pytest.mark.parametrize("metric", ["auroc", "mae", "pearson", "r2"])
def test_scales_go_there_and_back(metric):
    scale, value = scale_of(metric), 0.37
    assert scale.back(scale.there(value)) == pytest.approx(value)
    step = 1e-6
    assert scale.slope(value) == pytest.approx((scale.there(value + step) - scale.there(value)) / step, rel=1e-4)


# --- means of metrics -------------------------------------------------------------------------------------------------


def test_mean_of_independent_members_is_narrower_and_of_equal_ones_as_wide():
    one = interval("auroc", Ranking(*question(seed=2)), people(80))
    same = interval("auroc", Members({"a": one, "b": one}), people(80))
    assert (same.low, same.high) == pytest.approx((one.low, one.high))
    other = interval("auroc", Ranking(*question(seed=3)), people(80))
    both = interval("auroc", Members({"a": one, "b": other}), people(80))
    assert both.value == pytest.approx((one.value + other.value) / 2)
    assert both.high - both.low < (one.high - one.low + other.high - other.low) / 2


def test_macro_inherits_the_reasons_of_its_members_by_name():
    one = interval("auroc", Ranking(*question()), people(80))
    few = Interval(None, None, None, "no interval: fewer than five subjects with the condition: 2", 0.9)
    found = interval("auroc", Members({"none": one, "severe": few}), people(80))
    assert found.low is None
    assert found.reason == "no interval: severe (fewer than five subjects with the condition: 2)"


# --- coverage ---------------------------------------------------------------------------------------------------------


def eyes(rng, count):
    return (np.sqrt(0.6) * rng.normal(size=(count, 1)) + np.sqrt(0.4) * rng.normal(size=(count, 2))).ravel()


def held(draw, true, repeats=400):
    """Return the share of intervals that hold the true value, of those that are given."""
    rng = np.random.default_rng(0)
    found = [draw(rng) for _ in range(repeats)]
    given = [one for one in found if one.low is not None]
    assert len(given) > repeats / 2
    return np.mean([one.low <= true <= one.high for one in given])


def test_auroc_of_thirty_people_of_whom_few_have_the_condition_is_covered():
    def draw(rng):
        truth = (eyes(rng, 60) > special.ndtri(0.9)).astype(float)
        return interval("auroc", Ranking(truth, truth * 1.8124 + eyes(rng, 60)), people(120, 2))

    assert 0.92 < held(draw, 0.9) <= 1


def test_sensitivity_at_two_eyes_each_is_covered():
    def draw(rng):
        return interval("sensitivity", Share(eyes(rng, 40) > special.ndtri(0.2), np.ones(80, bool)), people(80, 2))

    assert 0.92 < held(draw, 0.8) < 0.98


@pytest.mark.parametrize(("count", "fewest"), [(5, 0.90), (20, 0.92)])
def test_skewed_dice_of_few_people_is_covered(count, fewest):
    everybody = special.ndtr(1.3 + 0.7 * np.random.default_rng(1).normal(size=1_000_000)).mean()

    def draw(rng):
        return interval("dice", Mean(special.ndtr(1.3 + 0.7 * eyes(rng, count))), people(2 * count, 2))

    assert fewest < held(draw, everybody) < 0.99


def test_the_interval_of_a_likelihood_ratio_is_about_that_of_the_logarithm():
    """40 of 50 cases and 20 of 100 others are called: LR+ is 4; Simel's log method is right for many people."""
    sick, place = np.arange(150) < 50, np.arange(150)
    hits = interval("sensitivity", Share(place < 40, sick), people(150))
    alarms = interval("specificity", Share(place >= 130, ~sick), people(150))
    found = interval("likelihood_ratio_positive", Ratio(hits, alarms), people(150))
    error = np.sqrt(1 / 40 - 1 / 50 + 1 / 20 - 1 / 100)
    assert found.value == pytest.approx(4.0)
    assert (found.low, found.high) == pytest.approx((4 * np.exp(-1.96 * error), 4 * np.exp(1.96 * error)), rel=0.06)


def test_a_likelihood_ratio_without_an_interval_names_whom_it_lacks():
    few = interval("sensitivity", Share(np.ones(40, bool), np.arange(40) < 3), people(40))
    ratio = interval("likelihood_ratio_positive", Ratio(few, share(10, 40)), people(40))
    assert ratio.reason == "no interval: fewer than five subjects with the condition: 3"
    none = interval("likelihood_ratio_negative", Ratio(share(0, 40), share(10, 40)), people(40))
    assert none.low == 0.0 and 0 < none.high < 1


def test_one_subject_that_decides_everything_does_not_give_limits_that_nobody_believes():
    value = np.full(80, 0.9)
    value[:40] += 0.02
    value[0] = 0.0  # far from all others
    found = interval("dice", Mean(value), people(80))
    error = np.sqrt(found.influence_S @ found.influence_S)
    assert found.low == pytest.approx(found.value - MOST_WIDENED * t_quantile(79) * error)
    assert found.high < 0.95


def test_answers_of_folds_have_wider_limits_the_fewer_people_the_more():
    truth, score = question()
    alone = interval("auroc", Ranking(truth, score), people(80))
    few, many = (out_of_fold(alone, count, "auroc") for count in (48, 4800))
    assert (few.high - few.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(4 / 3))
    assert many.high - many.low == pytest.approx(alone.high - alone.low, rel=0.01) and few.value == alone.value
    assert few.method == "Obuchowski, logit, t, folds"
    nothing = interval("auroc", Ranking(np.ones(80), score), people(80))
    assert out_of_fold(nothing, 48, "auroc") == nothing
