"""Progression on drawn eyes: three heads come close to whoever knows the true risk; permuted outcomes teach nothing.

`VISIONFM_PROGRESSION` names the folder of a run of this config, which goes on if it is not finished; without it the
eyes are drawn and run here.
"""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from rerun_project import Project
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from visionfm import artifacts
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan
from visionfm.synthetic.dataset import write_dataset
from visionfm.tasks.predict import predict
from visionfm.tasks.train import train

PEOPLE = 420  # a split
PERMUTATIONS = 4
TASKS = ("progressed_by", "hazard", "cox")
CONFIG = """
encoders:
  fundus:
    {modality: Fundus, weights: random, arch: vit_tiny_patch16_224, image_size: 112, seed: 1, device: cpu, workers: 0}
models:
  tiny: {Fundus: fundus}
datasets:
  asked:
    modality: Fundus
    root: drawn/FundusForecasting
    layout: forecasting
    path_pattern: "(?P<subject>s[0-9]+)_(?P<eye>[RL])"
    cohort: followed
    split: {validation: 0.2, stratify: event}
  followed:
    modality: Fundus
    root: drawn/FundusForecasting
    layout: table
    table: visits.csv
    columns: {image: path, subject: subject, eye: eye, visit: visit, split: split, interval: interval, event: event}
    cohort: followed
    split: {like: asked}
tasks:
  progressed_by: {kind: progression, datasets: [asked], models: [tiny], head: published, targets: {progressed: {}}}
  hazard: &followed
    kind: progression
    datasets: [followed]
    models: [tiny]
    unit: eye
    fusion: attention
    head: hazard
    survival: {intervals: [365, 730, 1095, 1460, 1825], horizons: [730, 1460], visits: 2}
    training: {features: patch_mean} # what an untrained encoder tells best
    targets: {progressed: {}}
  cox: {<<: *followed, head: cox}
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("depth_progression")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> Path:
    """The folder of a finished run."""
    named = os.environ.get("VISIONFM_PROGRESSION")
    folder = Path(named) if named else tmp_path_factory.mktemp("progression")
    if not (folder / "drawn").exists():
        write_dataset("forecasting", folder / "drawn", number=PEOPLE, size=112, modalities=["Fundus"])
    project = Project(folder, commands)
    project.config = yaml.safe_load(CONFIG)
    project.run()
    return folder


def metric(run: Path, task: str, name: str) -> dict:
    rows = pq.read_table(run / "results/report/metrics.parquet").to_pylist()
    found = [
        row
        for row in rows
        if (row["task"], row["metric"], row["split"], row["class"]) == (task, name, "test", None)
        and row["modality"] == row["modalities"] == "all"
    ]
    assert len(found) == 1, found
    return found[0]


def oracle(run: Path) -> tuple[float, int]:
    """Return the concordance of the true log hazard on the test eyes, and how many eyes they are."""
    with (run / "drawn/truth.csv").open(newline="") as text:
        true = {row["path"]: float(row["log_hazard"]) for row in csv.DictReader(text)}
    with (run / "drawn/FundusForecasting/visits.csv").open(newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["event"] and row["split"] == "test"]
    risk = np.array([true[f"FundusForecasting/{row['path']}"] for row in rows])
    event = np.array([row["event"] == "1" for row in rows])
    days = np.array([float(row["interval"]) for row in rows])
    return float(concordance_index_censored(event, days, risk)[0]), len(rows)


@pytest.mark.parametrize("head", ["hazard", "cox"])
def test_concordance_is_within_three_hundredths_of_whoever_knows_the_true_risk(run: Path, head: str) -> None:
    known, eyes = oracle(run)
    row = metric(run, head, "concordance")
    assert row["n"] == eyes and known > 0.8
    assert row["value"] >= known - 0.03, (row["value"], known)
    assert row["ci_low"] < row["value"] < row["ci_high"]


def test_the_published_head_tells_who_has_progressed_by_a_day(run: Path) -> None:
    row = metric(run, "progressed_by", "auroc")
    assert row["value"] >= 0.85, row
    assert row["ci_low"] < row["value"] < row["ci_high"]


@pytest.mark.parametrize("task", TASKS)
def test_of_permuted_outcomes_nothing_is_learned(
    run: Path, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(yaml.safe_load(CONFIG)))
    plan = Plan(load_config(tmp_path / "config.yaml"))
    table = artifacts.read_table(Path(plan.samples(task, "tiny")))
    extra = {name.decode(): text.decode() for name, text in table.schema.metadata.items()}
    files: dict[str, list[Path]] = {}
    for dataset, path in plan.task_features(task, "tiny"):
        files.setdefault(dataset, []).append(Path(path))
    # The interval is part of the published head's question, elsewhere of the outcome.
    columns = ["progressed"] if task == "progressed_by" else ["progressed", "interval_days"]
    split = np.array(table["split"].to_pylist())
    found = []
    for number in range(PERMUTATIONS):
        order = np.random.default_rng(number).permutation(len(table))
        mixed = table
        for name in columns:
            mixed = mixed.set_column(mixed.column_names.index(name), name, mixed[name].take(order))
        made_by = artifacts.provenance("fuse", {"permutation": number}, {})
        paths = {name: tmp_path / f"{number}/{name}.parquet" for name in ("samples", "train")}
        for name, kept in (("samples", mixed), ("train", mixed.filter(split != "test"))):
            wanted = {key: extra[key] for key in ("targets", "modalities", "fusion", "unit")}
            plain = kept.replace_schema_metadata(None)
            artifacts.write_table(paths[name], plain, made_by, schema=extra["schema"], extra=wanted)
        out = tmp_path / f"{number}/decoder.safetensors"
        settings = plan.tasks.vector_train_settings(task, "seed0").model_copy(update={"epochs": 15})
        train(paths["train"], files, out, out.with_name("training.parquet"), settings)
        scores = out.with_name("predictions.parquet")
        predict(out, paths["samples"], files, scores, plan.tasks.predict_settings(task, "tiny", "seed0"))
        rows = [row for row in artifacts.read_table(scores).to_pylist() if row["split"] == "test"]
        truth = np.array([row["truth"] for row in rows])
        if task == "progressed_by":
            found.append(roc_auc_score(truth, [row["scores"][0] for row in rows]))
        else:
            days, risk = (np.array([row[name] for row in rows], float) for name in ("interval_days", "value"))
            found.append(concordance_index_censored(truth > 0, days, risk)[0])
    assert 0.45 <= float(np.mean(found)) <= 0.55, json.dumps(found)
