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
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import PredictSettings, TargetSpec, TrainSettings
from visionfm.tasks.train import train
from visionfm.tasks.vectors.recipe import sound

FLOOR = 0.79  # any DR against none, logistic regression on the untrained tiny encoder's features, five folds

pytestmark = pytest.mark.xdist_group("real")


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    return finished(tmp_path_factory.mktemp("real"), "config.yaml")


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
    assert metric(run, "any_dr", "any_dr", "auroc")["n_subjects"] > 80


def test_a_second_run_does_nothing(run: Path) -> None:
    assert "Nothing to be done" in snakemake(run, "-n").stdout + snakemake(run, "-n").stderr


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
def test_every_pair_of_identical_images_in_different_classes_is_reported(
    run: Path, task: str, classes: Callable[[dict], object]
) -> None:
    labels = artifacts.read_table(run / "results/datasets/idrid/labels.parquet").to_pylist()
    expected = {
        (one["path"], other["path"])
        for one, other in combinations(labels, 2)
        if one["image_id"] == other["image_id"] and classes(one) != classes(other)
    }
    findings = artifacts.read_table(run / "results/tasks" / task / "audit.parquet").to_pylist()
    found = {(row["path"], row["other_path"]) for row in findings if row["check"] == "contradiction"}
    assert expected and found == expected


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


def test_the_sound_decoder_is_as_good_as_the_floor_in_five_folds(run: Path, tmp_path: Path) -> None:
    table = artifacts.read_table(run / "results/tasks/any_dr/tiny/samples.parquet")
    truth_N = np.array(table["any_dr"].to_pylist())
    files = {"idrid": [run / "results/features/fundus/idrid.cls224.h5"]}
    targets = {"any_dr": TargetSpec(type="binary", classes=["none", "any"])}
    scores_N = np.zeros(len(truth_N))
    generator = np.random.default_rng(0)
    for fold, (rest, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(truth_N, truth_N)):
        split = np.array(["train"] * len(truth_N), dtype=object)
        split[generator.choice(rest, len(rest) // 7, replace=False)] = "validation"
        split[test] = "test"
        made_by = artifacts.provenance("fuse", {"fold": fold}, {})
        column = table.column_names.index("split")
        whole = table.drop_columns(["dme_risk"]).set_column(column, "split", [split.tolist()])
        samples = whole.replace_schema_metadata(None)
        paths = [tmp_path / f"{fold}/{name}.parquet" for name in ("samples", "train")]
        extra = {name: table.schema.metadata[name.encode()].decode() for name in ("modalities", "fusion", "unit")}
        for path, kept in zip(paths, (samples, samples.filter(split != "test")), strict=True):
            artifacts.write_table(path, kept, made_by, schema="visionfm/samples/1", extra=extra)
        decoder, out = tmp_path / f"{fold}/decoder.safetensors", tmp_path / f"{fold}/predictions.parquet"
        settings = TrainSettings(
            kind="classification", targets=targets, modalities=["Fundus"], recipe_name="sound", recipe=sound()
        )
        train(paths[1], files, decoder, tmp_path / f"{fold}/training.parquet", settings)
        wanted = PredictSettings(
            task="t", model="m", run="r", kind="classification", targets=targets, modalities=["Fundus"], splits=["test"]
        )
        predict(decoder, paths[0], files, out, wanted)
        for row in artifacts.read_table(out).to_pylist():
            scores_N[table["sample_id"].to_pylist().index(row["sample_id"])] = row["scores"][0]
    assert roc_auc_score(truth_N, scores_N) > FLOOR - 0.04
