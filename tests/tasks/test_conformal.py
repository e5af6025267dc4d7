"""Conformal sets of a run: their limit is chosen on validation, they hold what was asked for, and say why not."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from visionfm.tasks.prediction_arrays import Answers, Samples
from visionfm.tasks.settings import EvaluateSettings, TargetSpec
from visionfm.tasks.vectors.score import scored

TARGETS = {
    "sick": TargetSpec(type="binary", classes=["no", "yes"]),
    "signs": TargetSpec(type="multilabel", classes=["a", "b"]),
    "grade": TargetSpec(type="multiclass", classes=["a", "b", "c"]),
}
N, VALIDATION = 900, 400


def answers(name: str, seed: int = 0) -> Answers:
    """Return answers to one target, over-confident ones; each person has two samples."""
    rng = np.random.default_rng(seed)
    width = len(TARGETS[name].classes) if name != "sick" else 1
    odds = rng.normal(0, 1.5, (N, width))
    if name == "grade":
        truth_NK = (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)[:, None].astype(float)
        score_NK = softmax(2 * odds, axis=1)
    else:
        truth_NK, score_NK = (rng.random(odds.shape) < expit(odds)).astype(float), expit(2 * odds)
    split_N = np.repeat(np.array(["validation", "test"], dtype=object), [VALIDATION, N - VALIDATION])
    ids = np.array([f"s{n:04}" for n in range(N)], dtype=object)
    people = np.array([f"p{n // 2:04}" for n in range(N)], dtype=object)
    same = [np.full(N, text, dtype=object) for text in ("ours", "Fundus", "all")]
    run_N = np.full(N, "seed0", dtype=object)
    return Answers(truth_NK, score_NK, Samples(ids, people, split_N, *same), run_N)


def measured(name: str, of: Answers, level: float | None = 0.9):
    settings = EvaluateSettings(
        task="t", model="m", head="h", fusion="pooled", kind="classification", targets=TARGETS, conformal=level
    )
    rows_N = np.flatnonzero(of.samples.split_N == "test")
    found = scored({"seed0": {name: of}}, settings, "visionfm.tasks.vectors.score")["seed0"][name].measures(rows_N)
    return {measure.key: measure for measure in found if measure.metric.startswith("conformal")}


@pytest.mark.parametrize("name", TARGETS)
def test_sets_hold_about_what_was_asked_for(name: str) -> None:
    found = measured(name, answers(name))
    labels = TARGETS[name].classes if name == "signs" else [None]
    for label in labels:
        held = found[label, "conformal_coverage", "conformal 0.9"]
        assert held.interval.low < 0.9 < held.interval.high and held.n == N - VALIDATION and held.threshold is not None
        assert 1 < found[label, "conformal_set_size", "conformal 0.9"].value < 3
        assert 0 < found[label, "conformal_single", "conformal 0.9"].value < 1
    assert measured(name, answers(name), None) == {}


def test_test_samples_choose_no_limit() -> None:
    of = answers("sick")
    limit = measured("sick", of)[None, "conformal_coverage", "conformal 0.9"].threshold
    of.truth_NK[VALIDATION:] = 1 - of.truth_NK[VALIDATION:]
    assert measured("sick", of)[None, "conformal_coverage", "conformal 0.9"].threshold == limit


def test_unknown_truths_are_left_out_and_none_at_all_is_said() -> None:
    of = answers("signs")
    of.truth_NK[:VALIDATION, 0], of.truth_NK[VALIDATION : VALIDATION + 50, 1] = np.nan, np.nan
    found = measured("signs", of)
    without = found["a", "conformal_coverage", "conformal 0.9"]
    assert np.isnan(without.value) and without.reason == "no validation sample with a known answer"
    assert found["b", "conformal_coverage", "conformal 0.9"].n == N - VALIDATION - 50


def test_too_few_validation_people_are_said() -> None:
    of = answers("grade")
    of.samples.split_N[10:VALIDATION] = "train"
    held = measured("grade", of)[None, "conformal_coverage", "conformal 0.9"]
    assert held.value == 1 and held.reason == "so few validation subjects promise nothing less than all classes"
