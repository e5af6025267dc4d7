"""Folds in metrics and comparisons: pooled answers, the mean of the folds' values, external data, thresholds."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from visionfm.metrics.evidence import Interval, OverFolds
from visionfm.metrics.intervals import interval
from visionfm.metrics.subjects import Subjects
from visionfm.tasks import compare
from visionfm.tasks.compare import differences
from visionfm.tasks.evaluate import metric_rows
from visionfm.tasks.out_of_fold import pooled
from visionfm.tasks.prediction_arrays import Answers, Samples
from visionfm.tasks.scored import _of_folds
from visionfm.tasks.settings import CompareSettings, EvaluateSettings, TargetSpec
from visionfm.tasks.vectors.score import scored

FOLDS, PEOPLE, OUTSIDE = 3, 90, 30
TARGET = TargetSpec(type="binary", classes=["no", "yes"])
SETTINGS = EvaluateSettings(
    task="t", model="m", head="sound", fusion="pooled", kind="classification", targets={"dme": TARGET}, external=["far"]
)
SCORING = "visionfm.tasks.vectors.score"


def frames(seed: int = 0, run: str = "seed0", apart: float = 1.5) -> dict[str, pd.DataFrame]:
    """What each fold's decoder answers: its test people, its validation people, and all people of elsewhere."""
    truth = np.random.default_rng(7).random(PEOPLE + OUTSIDE) < 0.4
    found = {}
    for fold in range(FOLDS):
        rng = np.random.default_rng([seed, fold])
        rows = []
        for person in range(PEOPLE + OUTSIDE):
            inside = person < PEOPLE
            split = "test" if not inside or person % FOLDS == fold else "validation"
            if split == "validation" and person % FOLDS != (fold + 1) % FOLDS:
                continue
            score = 1 / (
                1 + np.exp(-(apart * truth[person] + rng.normal() - 0.5 * fold))
            )  # folds differ in their level
            rows.append((f"p{person:03}", "near" if inside else "far", split, float(truth[person]), score))
        frame = pd.DataFrame(rows, columns=["sample_id", "dataset", "split", "truth", "score"])
        found[f"{run}-fold{fold}"] = frame.assign(run=f"{run}-fold{fold}")
    return found


def answered(found: dict[str, pd.DataFrame]) -> Any:
    def of(rows: pd.DataFrame) -> Answers:
        whole = np.full(len(rows), "all", dtype=object)
        sample, split, dataset, run = (
            rows[name].to_numpy(dtype=object) for name in ("sample_id", "split", "dataset", "run")
        )
        samples = Samples(sample, sample, split, dataset, whole, whole)
        return Answers(rows[["truth"]].to_numpy(), rows[["score"]].to_numpy(), samples, run)

    every = found | pooled(found)
    return scored({run: {"dme": of(rows.sort_values("sample_id"))} for run, rows in every.items()}, SETTINGS, SCORING)


def pick(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    same = {"split": "test", "metric": "auroc", "operating_point": None} | wanted
    (row,) = [row for row in rows if all(row[name] == value for name, value in same.items())]
    return row


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return metric_rows(answered(frames()), SETTINGS)


def auroc(of: pd.DataFrame) -> float:
    return float(roc_auc_score(of["truth"], of["score"]))


def test_each_person_counts_once_in_what_all_folds_answered_together(rows):
    of_folds = [frame[(frame["split"] == "test") & (frame["dataset"] == "near")] for frame in frames().values()]
    together = pick(rows, run="seed0", dataset="near")
    assert together["value"] == pytest.approx(auroc(pd.concat(of_folds)))
    assert (together["n"], together["n_subjects"], together["fold"]) == (PEOPLE, PEOPLE, None)
    assert together["interval"] == "Obuchowski, logit, t"


def test_the_mean_over_folds_is_another_number_under_another_name(rows):
    each = [pick(rows, run=f"seed0-fold{fold}", dataset="near") for fold in range(FOLDS)]
    mean = pick(rows, run="foldmean", dataset="near")
    assert mean["value"] == pytest.approx(np.mean([row["value"] for row in each]))
    assert mean["value"] > pick(rows, run="seed0", dataset="near")["value"]  # whose folds differ in their level
    assert (mean["n"], mean["n_subjects"], mean["n_positive"]) == (
        PEOPLE,
        PEOPLE,
        sum(row["n_positive"] for row in each),
    )
    together = pick(rows, run="seed0", dataset="near")
    assert mean["ci_high"] - mean["ci_low"] == pytest.approx(together["ci_high"] - together["ci_low"])
    assert mean["interval"] == "Obuchowski, logit, t, moved"


def test_external_people_are_scored_by_each_decoder_and_by_their_mean(rows):
    each = [pick(rows, run=f"seed0-fold{fold}", dataset="far") for fold in range(FOLDS)]
    mean = pick(rows, run="seed0", dataset="far")
    assert {row["n"] for row in [*each, mean]} == {OUTSIDE}
    assert mean["value"] == pytest.approx(np.mean([row["value"] for row in each]))
    assert mean["ci_low"] < mean["value"] < mean["ci_high"]
    assert not [row for row in rows if row["run"] == "foldmean" and row["dataset"] == "far"]


def test_a_dataset_that_one_fold_tests_alone_is_no_external_one():
    found = frames()
    few = {f"p{person:03}" for person in range(0, 45, FOLDS)}  # all of the first fold
    for frame in found.values():
        frame.loc[frame["sample_id"].isin(few), "dataset"] = "small"
    rows = metric_rows(answered(found), SETTINGS)
    one, together = (pick(rows, run=run, dataset="small") for run in ("seed0-fold0", "seed0"))
    assert together["value"] == one["value"] and together["n"] == len(few)


def test_each_person_is_called_at_the_threshold_of_the_decoder_that_was_asked(rows):
    right = 0
    for fold, frame in enumerate(frames().values()):
        at = pick(rows, run=f"seed0-fold{fold}", dataset="near", metric="sensitivity", operating_point="validation")
        of_test = frame[(frame["split"] == "test") & (frame["dataset"] == "near") & (frame["truth"] == 1)]
        right += int((of_test["score"] >= at["threshold"]).sum())
    together = pick(rows, run="seed0", dataset="near", metric="sensitivity", operating_point="validation")
    assert together["value"] == pytest.approx(right / together["n_positive"])
    assert together["threshold"] is None  # there are several
    half = pick(rows, run="seed0", dataset="near", metric="sensitivity", operating_point="0.5")
    assert half["threshold"] == 0.5


def test_seeds_and_repeats_have_a_mean_over_what_their_folds_answered():
    found = frames() | frames(1, "seed0-repeat1") | frames(2, "knn") | frames(3, "knn-repeat1")
    rows = metric_rows(answered(found), SETTINGS)
    for mean, members in {"mean": ["seed0", "seed0-repeat1"], "mean-knn": ["knn", "knn-repeat1"]}.items():
        for dataset in ("near", "far"):
            values = [pick(rows, run=run, dataset=dataset)["value"] for run in members]
            row = pick(rows, run=mean, dataset=dataset)
            assert row["value"] == pytest.approx(np.mean(values))
            assert row["ci_low"] is not None
    assert pick(rows, run="mean-knn", dataset="near")["head"] == "knn"
    folds = [f"seed0-{repeat}fold{fold}" for repeat in ("", "repeat1-") for fold in range(FOLDS)]
    values = [pick(rows, run=run, dataset="near")["value"] for run in folds]
    assert pick(rows, run="foldmean", dataset="near")["value"] == pytest.approx(np.mean(values))
    assert pick(rows, run="foldmean", dataset="near")["n"] == PEOPLE  # not twice
    assert pick(rows, run="seed0-repeat1-fold2", dataset="near")["repeat"] == 1


def test_comparisons_pair_the_pooled_answers_and_on_external_data_the_decoders():
    settings = CompareSettings(models=["a", "b"], runs=["seed0"], evaluate=SETTINGS)
    of_model = {"a": answered(frames(apart=2.5)), "b": answered(frames(1, apart=0.5))}
    answers = {(model, run): targets for model, runs in of_model.items() for run, targets in runs.items()}
    found = differences(answers, settings)
    for dataset, n, decoders in (("near", PEOPLE, 1), ("far", OUTSIDE, FOLDS)):
        row = next(row for row in found if row["dataset"] == dataset and row["in_family"])
        values = [pick(metric_rows(of, SETTINGS), run="seed0", dataset=dataset)["value"] for of in of_model.values()]
        assert (row["first_value"], row["second_value"]) == pytest.approx(values)
        assert (row["n"], row["first_seeds"], row["first_run"]) == (n, decoders, "seed0")
        assert row["ci_low"] < row["difference"] < row["ci_high"]


def test_the_limits_of_a_mean_over_folds_are_moved_and_stay_possible():
    nobody = Subjects(np.zeros(0, np.intp), 0)
    together = Interval(0.6, 0.95, "any", None, 0.8)
    found = interval("auroc", OverFolds(0.9, together), nobody)
    assert (found.low, found.high, found.method) == (pytest.approx(0.7), 1.0, "any, moved")
    without = interval("auroc", OverFolds(0.9, Interval(None, None, None, "no interval: few", 0.8)), nobody)
    assert without.reason == "no interval: few"


def test_a_fold_without_a_case_leaves_the_mean_without_a_value_and_all_together_with_one():
    found = frames()
    first = found["seed0-fold0"]
    found["seed0-fold0"] = first.assign(truth=first["truth"].mask(first["split"] == "test", 0.0))
    rows = metric_rows(answered(found), SETTINGS)
    assert pick(rows, run="seed0", dataset="near")["value"] is not None
    mean = pick(rows, run="foldmean", dataset="near")
    assert mean["value"] is None and mean["reason"].startswith("seed0-fold0: ")


def test_only_people_whose_answer_is_known_make_the_error_of_folds_smaller():
    found = {run: rows.assign(truth=rows["truth"].where(rows["sample_id"] < "p045")) for run, rows in frames().items()}
    (of,) = _of_folds(answered(found)["seed0"]).values()
    assert {one.folds_people for one in of.measures(np.arange(PEOPLE))} == {45}


def test_a_second_observer_is_compared_with_folds_by_the_larger_error_on_both_sides():
    runs = answered(frames(0) | frames(1, "seed1"))
    (folds, plain), (observer, _) = (
        [
            next(one for one in of.measures(np.arange(PEOPLE)) if one.metric == "brier")
            for of in (_of_folds(runs[run])["dme"], runs[run]["dme"])
        ][:: 1 if run == "seed0" else -1]
        for run in ("seed0", "seed1")
    )
    wide, narrow = compare._difference([folds], [observer]), compare._difference([plain], [observer])
    assert wide.high - wide.low == pytest.approx((narrow.high - narrow.low) * np.sqrt(1 + 16 / PEOPLE))
    assert compare._difference([observer], [folds]).p == pytest.approx(wide.p)
    assert wide.method == f"{narrow.method}, folds"
