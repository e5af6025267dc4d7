"""Stage `recalibrate`: what few labelled local subjects give at an external site."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from visionfm import artifacts, cli
from visionfm.metrics.recalibration import Platt, platt
from visionfm.tasks.recalibrate import COLUMNS, drawn

TEXT, NUMBER = pa.string(), pa.float64()
PREDICTIONS = pa.schema(
    [(name, TEXT) for name in ("sample_id", "subject_id", "dataset", "modalities", "subset", "split", "run")]
    + [("target", TEXT), ("class", TEXT), ("truth", NUMBER), ("scores", pa.list_(NUMBER)), ("value", NUMBER)]
    + [("interval_days", NUMBER), ("unit", TEXT)]
)  # fmt: skip
Row = dict[str, Any]


def outside(people: int, seed: int = 0, intercept: float = 1.0, slope: float = 2.0) -> list[Row]:
    """Two images of each of so many people of `north`, whose score is `intercept + slope x` the true log odds."""
    rng = np.random.default_rng(seed)
    odds_N = np.repeat(rng.normal(-0.5, 1.2, people), 2) + rng.normal(0, 0.5, 2 * people)
    truth_N = (rng.random(2 * people) < 1 / (1 + np.exp(-odds_N))).astype(float)
    score_N = 1 / (1 + np.exp(-(intercept + slope * odds_N)))
    return [
        {"sample_id": f"north/{n}", "subject_id": f"north/p{n // 2:04d}", "dataset": "north", "split": "test",
         "modalities": "Fundus", "subset": "all", "run": "seed0", "target": "dr", "truth": truth_N[n],
         "scores": [score_N[n]]}
        for n in range(2 * people)
    ]  # fmt: skip


def recalibrated(folder: Path, rows: list[Row], target: Any = None) -> list[Row]:
    """Run the stage; return the rows of recalibration.parquet."""
    path, out = folder / "seed0/predictions.parquet", folder / "recalibration.parquet"
    table = pa.Table.from_pylist([dict.fromkeys(PREDICTIONS.names) | row for row in rows], PREDICTIONS)
    made_by = artifacts.provenance("predict", {}, {})
    artifacts.write_table(path, table, made_by, schema="visionfm/predictions/1", extra={"task": "t", "model": "m"})
    scored = {"task": "t", "model": "m", "head": "sound", "fusion": "pooled", "kind": "classification"}
    target = target or {"type": "binary", "classes": ["negative", "positive"]}
    scored |= {"targets": {"dr": target}, "external": ["north"]}
    settings = json.dumps({"models": ["m"], "runs": ["seed0"], "evaluate": scored})
    assert cli.main(["recalibrate", "--predictions", f"m={path}", "--out", str(out), "--settings", settings]) == 0
    found: list[Row] = artifacts.read_table(out).to_pylist()
    return found


def curve(rows: list[Row], metric: str) -> dict[int, Row]:
    return {row["local_subjects"]: row for row in rows if row["metric"] == metric}


def test_few_local_subjects_put_probabilities_right_and_leave_their_order(tmp_path: Path) -> None:
    rows = recalibrated(tmp_path, outside(600))
    assert list(rows[0]) == list(COLUMNS)
    slope, large, auroc = (curve(rows, name) for name in ("calibration_slope", "calibration_in_the_large", "auroc"))
    assert list(slope) == [0, 20, 50, 100]
    assert slope[0]["ci_high"] < 0.7 and large[0]["ci_high"] < 0  # too extreme and too high by design
    assert slope[100]["ci_low"] - 0.2 < 1 < slope[100]["ci_high"] + 0.2
    assert abs(large[100]["value"]) < abs(large[0]["value"]) / 2
    assert curve(rows, "ece")[100]["value"] < curve(rows, "ece")[0]["value"]
    assert {row["value"] for row in auroc.values()} == {auroc[0]["value"]}


def test_whom_it_is_fitted_on_is_never_scored_and_all_sizes_score_the_same(tmp_path: Path) -> None:
    rows = recalibrated(tmp_path, outside(300))
    assert {(row["n"], row["n_subjects"]) for row in rows} == {(400, 200)}
    assert [curve(rows, "ece")[size]["local_n"] for size in (0, 20, 50, 100)] == [0, 40, 100, 200]


def test_a_site_of_few_subjects_says_why_it_has_no_more(tmp_path: Path) -> None:
    rows = recalibrated(tmp_path, outside(60))
    ece = curve(rows, "ece")
    assert ece[20]["n_subjects"] == 40 and ece[20]["value"] is not None
    assert ece[50]["value"] is None and "60 subjects" in ece[50]["reason"]


def test_local_subjects_are_nested_and_one_more_subject_moves_no_other() -> None:
    names = [f"p{number}" for number in range(50)]
    order = drawn(names, 0)
    assert [name for name in drawn([*names, "new"], 0) if name != "new"] == order != drawn(names, 1)


def test_platts_scaling_is_the_logistic_regression_on_his_targets() -> None:
    rng = np.random.default_rng(2)
    odds_N = rng.normal(0, 2, 80)
    truth_N = (rng.random(80) < 1 / (1 + np.exp(-0.5 * odds_N + 0.7))).astype(float)
    found = platt(truth_N, 1 / (1 + np.exp(-odds_N)))
    cases, others = truth_N.sum(), (1 - truth_N).sum()
    goal_N = np.where(truth_N == 1, (cases + 1) / (cases + 2), 1 / (others + 2))
    weighted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    weighted.fit(np.tile(odds_N, 2)[:, None], np.repeat([1, 0], 80), np.concatenate([goal_N, 1 - goal_N]))
    assert isinstance(found, Platt)
    assert (found.intercept, found.slope) == pytest.approx((weighted.intercept_[0], weighted.coef_[0, 0]), abs=1e-4)


def test_samples_that_the_score_tells_apart_give_a_finite_slope_and_one_kind_none() -> None:
    truth_N, score_N = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    found = platt(truth_N, score_N)
    assert isinstance(found, Platt) and 0 < found.slope < 10
    assert platt(np.zeros(4), score_N) == "no recalibration: no positive case among the 4 local samples"
    assert platt(truth_N, np.full(4, 0.3)) == "no recalibration: all local probabilities are the same"


def test_every_column_is_filled_by_some_run(tmp_path: Path) -> None:
    """A column that nothing fills is a promise that nobody keeps."""
    signs = {"type": "multilabel", "classes": ["drusen", "edema"]}
    rows = [row | {"class": name} for name in signs["classes"] for row in outside(60)]
    found = recalibrated(tmp_path, rows, signs)
    assert {name for row in found for name, value in row.items() if value is not None} == set(COLUMNS)
