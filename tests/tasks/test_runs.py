"""Names of runs: what a task trains, and what a name says."""

import pytest

from visionfm.errors import ConfigError
from visionfm.project.loading import parse_config
from visionfm.tasks.runs import FOLD_MEAN, Run, all_runs, fold_of, mean_run, pooled_run, read_run, seed_runs


def task(**changes):
    block = {"kind": "classification", "datasets": ["d"], "models": ["m"], "targets": {"dr": {"type": "binary"}}}
    raw = {
        "encoders": {"e": {"modality": "Fundus", "weights": "w.pth"}},
        "models": {"m": {"Fundus": "e"}},
        "datasets": {"d": {"modality": "Fundus", "root": "d", "layout": "vfm", "labels": ["dr", "iop"]}},
        "tasks": {"t": {**block, **changes}},
    }
    return parse_config(raw).tasks["t"]


def test_a_classification_has_its_seeds_then_both_baselines_then_its_parts():
    found = all_runs(task(seeds=[0, 3], train_fraction=[0.01, 0.5, 1], shots=[5]))
    parts = ["frac0p01", "frac0p5", "shots5"]
    assert found == ["seed0", "seed3", "knn", "logreg", *(f"seed{s}-{part}" for s in (0, 3) for part in parts)]


def test_baselines_can_be_chosen_and_left_out():
    assert all_runs(task(baselines=["logreg"])) == ["seed0", "logreg"]
    assert all_runs(task(baselines=[])) == ["seed0"]


def test_a_regression_has_no_baselines_and_refuses_them():
    value = {"kind": "regression", "targets": {"iop": {"type": "value"}}}
    assert all_runs(task(**value, shots=[2])) == ["seed0", "seed0-shots2"]
    with pytest.raises(ConfigError, match="only classification and ordinal have `baselines`"):
        task(**value, baselines=["knn"])


def test_folds_have_a_decoder_each_and_are_reported_together():
    folded = task(split={"folds": 2, "repeats": 2}, baselines=["knn"], shots=[5])
    ends = ["fold0", "fold1", "repeat1-fold0", "repeat1-fold1"]
    assert all_runs(folded) == [f"{run}-{end}" for run in ("seed0", "knn", "seed0-shots5") for end in ends]
    assert seed_runs(folded) == ["seed0", "seed0-repeat1"]
    assert [pooled_run(run) for run in all_runs(folded)[:4]] == ["seed0"] * 2 + ["seed0-repeat1"] * 2
    assert mean_run("knn-repeat1-fold0") == "mean-knn" and mean_run("seed0-fold1", FOLD_MEAN) == "foldmean"
    assert fold_of("seed0-repeat1-fold0").name == "repeat1-fold0"
    with pytest.raises(ConfigError, match="leave out split"):
        task(decoder="d.pth", split={"folds": 2})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seed0", Run(seed=0)),
        ("seed12-frac0p01", Run(seed=12, train_fraction=0.01)),
        ("seed1-shots5", Run(seed=1, shots=5)),
        ("seed0-fold2", Run(seed=0, fold=2)),
        ("knn-repeat1-fold2", Run(baseline="knn", repeat=1, fold=2)),
        ("knn", Run(baseline="knn")),
        ("mean-frac0p5", Run(train_fraction=0.5)),
    ],
)
def test_a_name_says_what_the_run_is(name, expected):
    assert read_run(name) == expected


def test_a_given_decoder_is_the_only_run_and_nothing_else_is_said_of_training():
    assert all_runs(task(decoder="d.pth")) == ["given"]
    assert all_runs(task(decoder="d.pth", datasets=[], external=["d"])) == ["given"]
    with pytest.raises(ConfigError, match="leave out seeds, training"):
        task(decoder="d.pth", seeds=[1], training={"epochs": 2})
    with pytest.raises(ConfigError, match="names no `datasets` to train on"):
        task(datasets=[])


@pytest.mark.parametrize(
    "wrong", [{"train_fraction": [0]}, {"train_fraction": [1.5]}, {"shots": [0]}, {"shots": [2, 2]}]
)
def test_impossible_parts_are_errors(wrong):
    with pytest.raises(ConfigError):
        task(**wrong)
