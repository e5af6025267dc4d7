"""The main job on real images: one config over fundus, FFA and OCT, from the files to the report.

`VISIONFM_SHARED` names the folder that holds the images and the golden encoder (default: beside the checkout).
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from world.checkout import finished, snakemake

from visionfm import artifacts
from visionfm.features.cache import FeatureStore

FLOOR = 0.81  # any DR against none, logistic regression on the untrained tiny encoder's features, five folds

pytestmark = pytest.mark.xdist_group("real")


@pytest.fixture(scope="module")
def run(shared: Path, commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    return finished(tmp_path_factory.mktemp("real"), "config.yaml", commands)


def metric(run: Path, task: str, target: str, name: str) -> dict:
    rows = pq.read_table(run / "results/report/metrics.parquet").to_pylist()
    found = [
        row
        for row in rows
        if (row["task"], row["target"], row["metric"], row["split"], row["run"])
        == (task, target, name, "test", "seed0")
        and row["modality"] == row["modalities"] == "all"
        and row["class"] in (None, "macro")
    ]
    assert len(found) == 1, found
    return found[0]


def test_the_run_ends_in_a_report_with_every_task(run: Path) -> None:
    page = (run / "results/report/index.html").read_text()
    for task in ("dr_grade", "any_dr", "ffa_diagnosis", "oct_class", "pooled"):
        assert task in page
    assert metric(run, "any_dr", "any_dr", "auroc")["n_subjects"] > 60


def test_a_second_run_does_nothing(run: Path, commands: Path) -> None:
    done = snakemake(run, "-n", commands=commands)
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("task", "classes"),
    [
        ("dr_grade", lambda row: row["dr_grade"]),
        (
            "any_dr",
            lambda row: (float(row["dr_grade"]) > 0, row["dme_risk"]),
        ),  # two grades of one class are no conflict
    ],
)
def test_every_pair_of_copies_in_different_classes_is_reported(
    run: Path, task: str, classes: Callable[[dict], object]
) -> None:
    labels = artifacts.read_table(run / "results/datasets/idrid/labels.parquet").to_pylist()
    expected = {
        (one["path"], other["path"])
        for one, other in combinations(labels, 2)
        if one["copy_id"] == other["copy_id"] and classes(one) != classes(other)
    }
    findings = artifacts.read_table(run / "results/tasks" / task / "audit.parquet").to_pylist()
    found = {(row["path"], row["other_path"]) for row in findings if row["check"] == "contradiction"}
    assert expected and found == expected


def test_one_eye_at_two_exposures_is_a_copy_as_are_equal_files(run: Path) -> None:
    labels = artifacts.read_table(run / "results/datasets/idrid/labels.parquet").to_pylist()
    groups: dict[str, set[str]] = {}
    for row in labels:
        groups.setdefault(row["copy_id"], set()).add(Path(row["path"]).stem.removeprefix("IDRiD_"))
    pairs = [{"013", "397"}, {"021", "391"}, {"028", "327"}, {"045", "333"}, {"073", "375"}, {"079", "279"}]
    assert sorted(map(sorted, (group for group in groups.values() if len(group) > 1))) == sorted(map(sorted, pairs))


def idrid_features(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N, F) identity features of IDRiD, any DR (N), and subjects (N)."""
    rows = artifacts.read_table(run / "results/datasets/idrid/labels.parquet").to_pylist()
    store = FeatureStore({"idrid": [run / "results/features/fundus/idrid.cls224.h5"]})
    features_NVF = store.gather([("idrid", row["path"], row["image_id"]) for row in rows], "cls", ["identity"])
    return features_NVF[:, 0], np.array([row["dr_grade"] > 0 for row in rows]), np.array([r["path"] for r in rows])


def test_logistic_regression_on_the_cache_reaches_the_known_floor(run: Path) -> None:
    features_NF, truth_N, _ = idrid_features(run)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores_N = cross_val_predict(model, features_NF, truth_N, cv=folds, method="predict_proba")[:, 1]
    assert abs(roc_auc_score(truth_N, scores_N) - FLOOR) < 0.03
