"""Every published layout, as `visionfm synth` writes it, runs through to the report; so does each as plain noise."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rerun_project import Project

from visionfm.synthetic.dataset import write_dataset
from visionfm.synthetic.findings import BIOMARKERS, DISEASES
from visionfm.synthetic.items import column

MODALITIES = ["Fundus", "OCT"]
TASKS = {
    "pretrain": "",
    "single_cls": "Classification",
    "multi_cls": "ClassificationMulti",
    "metric_reg": "Regression",
    "forecasting": "Forecasting",
}
TRAINING = {"epochs": 2}


def config(noise: bool) -> dict:
    """One config over all layouts: pooled tasks as published; the drawn images have people, and so eyes to join."""
    people = {} if noise else {"path_pattern": "(?P<subject>s[0-9]+)_(?P<eye>[RL])", "cohort": "eyes"}
    diseases = [column(name) for name in DISEASES]
    values = [marker.name for marker in BIOMARKERS]
    labels = {"single_cls": ["grade"], "multi_cls": diseases, "metric_reg": values}
    datasets: dict = {}
    for task, folder in TASKS.items():
        for modality in MODALITIES:
            root = f"{task}/{modality}{folder}"
            block = {"modality": modality, "root": root, "layout": "vfm", "split": {"validation": 0.3}}
            if task == "pretrain":
                block |= {"layout": "table", "labels": "none"}
            elif task == "forecasting":
                block |= {"layout": "forecasting", **people}
            else:
                block |= {"labels": labels[task], **people}
            if task != "pretrain" and people:
                if modality != "Fundus":
                    block["split"] = {"like": f"{task}_fundus"}
                block["cohort"] = task
            datasets[f"{task}_{modality.lower()}"] = block
    encoders = {
        modality.lower(): {
            "modality": modality,
            "weights": "random",
            "arch": "vit_tiny_patch16_224",
            "image_size": 32,
            "device": "cpu",
            "workers": 0,
            "trained_on": [f"pretrain_{modality.lower()}"],
        }
        for modality in MODALITIES
    }
    names = {task: [f"{task}_{modality.lower()}" for modality in MODALITIES] for task in TASKS}
    grades = {"type": "multiclass", "classes": 5, "ordered": True}
    signs = {"type": "multilabel", "classes": diseases[5:] if not noise else diseases[:6]}
    measured = {name: {"type": "value"} for name in values}
    tasks: dict = {
        "grade": {"kind": "classification", "targets": {"grade": grades}, "datasets": names["single_cls"]},
        "signs": {"kind": "classification", "targets": {"signs": signs}, "datasets": names["multi_cls"]},
        "values": {"kind": "regression", "targets": measured, "datasets": names["metric_reg"]},
        "worse": {
            "kind": "progression",
            "head": "published",
            "targets": {"worse": {}},
            "datasets": names["forecasting"],
        },
    }
    if not noise:
        tasks["signs_by_eye"] = {**tasks["signs"], "unit": "eye", "fusion": "attention"}
    for name, block in tasks.items():
        recipe = {"values": {"recipe": "published"}, "worse": {}}.get(name, {"recipe": "sound"})
        block |= {"models": ["tiny"], "training": {**TRAINING, **recipe}}
    models = {"tiny": {modality: modality.lower() for modality in MODALITIES}}
    return {"encoders": encoders, "models": models, "datasets": datasets, "tasks": tasks}


@pytest.mark.parametrize("noise", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["drawn", "noise"])
def test_every_published_layout_runs_through(noise: bool, tmp_path: Path, commands: Path) -> None:
    for task in TASKS:
        write_dataset(task, tmp_path / task, number=24, size=64, modalities=MODALITIES, noise=noise, seed=3)
    project = Project(tmp_path, commands)
    project.config = config(noise)
    assert {call.stage for call in project.run()} >= {"label", "audit", "train", "predict", "evaluate", "report"}
    metrics = pq.read_table(tmp_path / "results/report/metrics.parquet").to_pylist()
    assert {row["task"] for row in metrics} == set(project.config["tasks"])
    within = [row for row in metrics if row["metric"] == "auroc_within_intervals" and row["split"] == "test"]
    assert within and all((row["value"] is None) <= (row["reason"] is not None) for row in within)
    page = (tmp_path / "results/report/index.html").read_text()
    assert all(task in page for task in project.config["tasks"])
    for modality in MODALITIES:
        indexed = pq.read_table(tmp_path / f"results/datasets/pretrain_{modality.lower()}/images.parquet")
        assert len(indexed) >= 24 and set(indexed["status"].to_pylist()) == {"ok"}
    assert project.run() == []
