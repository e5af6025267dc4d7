"""Survival metrics against lifelines and scikit-survival (oracles in tests alone), and where they do not exist."""

import numpy as np
import pytest
from lifelines.utils import concordance_index
from sksurv.metrics import (
    brier_score,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.util import Surv

from visionfm.metrics.intervals import interval
from visionfm.metrics.jackknife import left_out
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.survival import AtTime, Whole

TIMES = np.array([200.0, 500.0, 900.0, 1300.0])


def cohort(count=160, seed=0, whole_days=False):
    """Times that follow a known risk, half of them censored, and predicted probabilities by TIMES."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=count)
    seen, lost = rng.exponential(900 / np.exp(truth)), rng.uniform(100, 2000, count)
    time, event = np.minimum(seen, lost), seen <= lost
    if whole_days:
        time = np.ceil(time / 100) * 100
    risk = truth + rng.normal(size=count)
    by_NK = 1 - np.exp(-TIMES / 900 * np.exp(risk)[:, None])
    return event.astype(float), time, risk, by_NK


def whole(event, time, risk, by_NK):
    return {name: float(value[0]) for (name, _), value in
            Whole(event, time, risk, by_NK, TIMES)(np.ones((1, len(time)))).items()}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("whole_days", [False, True])
def test_concordance_is_that_of_scikit_survival_and_lifelines(seed, whole_days):
    event, time, risk, by_NK = cohort(seed=seed, whole_days=whole_days)
    risk = np.round(risk, 1)  # ties
    found = whole(event, time, risk, by_NK)
    assert found["concordance"] == pytest.approx(concordance_index_censored(event > 0, time, risk)[0], abs=1e-12)
    if not whole_days:
        assert found["concordance"] == pytest.approx(concordance_index(time, -risk, event), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_ipcw_concordance_auroc_and_brier_are_those_of_scikit_survival(seed):
    event, time, risk, by_NK = cohort(seed=seed)
    known = Surv.from_arrays(event > 0, time)
    found = whole(event, time, risk, by_NK)
    assert found["concordance_ipcw"] == pytest.approx(concordance_index_ipcw(known, known, risk, tau=TIMES[-1])[0])
    assert found["integrated_brier"] == pytest.approx(integrated_brier_score(known, known, 1 - by_NK, TIMES))
    auroc, _ = cumulative_dynamic_auc(known, known, by_NK, TIMES)
    _, brier = brier_score(known, known, 1 - by_NK, TIMES)
    for k, limit in enumerate(TIMES):
        values = AtTime(event, time, by_NK[:, k], limit)(np.ones((1, len(time))))
        assert float(values["time_dependent_auroc", None][0]) == pytest.approx(auroc[k])
        assert float(values["time_dependent_brier", None][0]) == pytest.approx(brier[k])


def test_a_draw_with_weights_is_the_metric_of_the_repeated_sample():
    event, time, risk, by_NK = cohort(60)
    weights = np.random.default_rng(1).multinomial(60, np.full(60, 1 / 60), size=3).astype(float)
    drawn = {**Whole(event, time, risk, by_NK, TIMES)(weights), **AtTime(event, time, by_NK[:, 1], 500)(weights)}
    for d, weight_N in enumerate(weights):
        rows = np.repeat(np.arange(60), weight_N.astype(int))
        again = whole(event[rows], time[rows], risk[rows], by_NK[rows])
        again |= {name: float(value[0]) for (name, _), value in
                  AtTime(event[rows], time[rows], by_NK[rows, 1], 500)(np.ones((1, 60))).items()}  # fmt: skip
        for (name, _), values_D in drawn.items():
            assert values_D[d] == pytest.approx(again[name], abs=1e-12), name


def test_a_high_risk_is_an_early_event_and_the_opposite_is_below_half():
    event, time, _, by_NK = cohort()
    assert whole(event, time, -time, by_NK)["concordance"] == 1
    assert whole(event, time, time, by_NK)["concordance"] == 0


def test_one_risk_for_all_is_half_right():
    event, time, _, by_NK = cohort()
    found = whole(event, time, np.zeros(len(time)), by_NK)
    assert found["concordance"] == found["concordance_ipcw"] == 0.5
    values = AtTime(event, time, np.full(len(time), 0.3), 500)(np.ones((1, len(time))))
    assert float(values["time_dependent_auroc", None][0]) == 0.5


def test_no_event_has_no_concordance_and_says_so():
    _, time, risk, by_NK = cohort()
    none = np.zeros(len(time))
    found = whole(none, time, risk, by_NK)
    assert np.isnan(found["concordance"]) and np.isnan(found["concordance_ipcw"])
    assert Whole(none, time, risk, by_NK, TIMES).why_undefined("concordance") == "no event among 160 known"
    at = AtTime(none, time, by_NK[:, 1], 500)
    assert at.why_undefined("time_dependent_auroc") == "no event by 500 days among 160 known"
    assert np.isfinite(at.brier(np.ones((1, len(time)))))


def test_events_in_all_need_no_weighting():
    _, time, risk, by_NK = cohort()
    found = whole(np.ones(len(time)), time, risk, by_NK)
    late = time >= TIMES[-1]  # Uno's looks at events before the last time alone
    assert found["concordance_ipcw"] == pytest.approx(
        concordance_index_censored(~late, np.minimum(time, TIMES[-1]), risk)[0]
    )
    assert found["integrated_brier"] > 0


def test_a_time_beyond_follow_up_has_no_value_and_shortens_the_integral():
    event, time, risk, by_NK = cohort()
    event, time = np.where(time > 700, 0, event), np.minimum(time, 700)
    scorer = Whole(event, time, risk, by_NK, TIMES)
    assert scorer.note("integrated_brier") == "over 200 to 500 days, where follow-up ends"
    assert np.isfinite(scorer(np.ones((1, len(time))))["integrated_brier", None])
    at = AtTime(event, time, by_NK[:, 2], 900)
    assert at.why_undefined("time_dependent_brier") == "follow-up ends before 900 days"
    assert at.why_undefined("time_dependent_auroc") == "nobody is known to be free of the event after 900 days"
    assert np.isnan(at(np.ones((1, len(time))))["time_dependent_brier", None])


def test_unknown_answers_are_left_out():
    event, time, risk, by_NK = cohort()
    more = [np.append(values, np.nan) for values in (event, time)]
    found = whole(*more, np.append(risk, 99), np.vstack([by_NK, np.full((1, 4), 0.5)]))
    assert found == whole(event, time, risk, by_NK)
    nobody = Whole(np.full(3, np.nan), np.full(3, np.nan), np.zeros(3), np.zeros((3, 4)), TIMES)
    assert nobody.why_undefined("concordance") == "no sample with a known answer"
    assert np.isnan(nobody(np.ones((1, 3)))["concordance", None])


def test_intervals_of_survival_metrics_cover_the_truth_about_as_often_as_they_say():
    """Thirty people with two eyes each; the truth is that of many cohorts of strangers."""
    rng, edges = np.random.default_rng(5), np.array([300.0, 600.0, 900.0])

    def draw(people, eyes):
        shared, own = rng.normal(size=(people, 1)), rng.normal(size=(people, eyes))
        risk = (np.sqrt(0.6) * shared + np.sqrt(0.4) * own).ravel()
        seen, lost = rng.exponential(800 * np.exp(-risk)), rng.uniform(100, 1800, people * eyes)
        event, time = (seen <= lost) * 1.0, np.minimum(seen, lost)
        by_NK = 1 - np.exp(-edges / 800 * np.exp(risk)[:, None])
        return Whole(event, time, risk, by_NK, edges), AtTime(event, time, by_NK[:, 1], 600.0)

    def values(scorer, weights):
        return {key: float(value_D[0]) for key, value_D in scorer(weights).items()}

    many = [values(scorer, np.ones((1, 2000))) for _ in range(30) for scorer in draw(2000, 1)]
    true = {key: np.mean([found[key] for found in many if key in found]) for key in {k for m in many for k in m}}
    subjects = Subjects(np.repeat(np.arange(30), 2), 30)
    left_JN = np.concatenate(list(left_out(subjects)))
    held = {key: [] for key in true}
    for _ in range(120):
        for scorer in draw(30, 2):
            for key, evidence in scorer.evidence(scorer.left_out(left_JN), subjects).items():
                found = interval(key[0], evidence, subjects)
                held[key] += [] if found.low is None else [found.low <= true[key] <= found.high]
    for key, covered in held.items():
        assert len(covered) >= 110 and np.mean(covered) >= 0.88, key
