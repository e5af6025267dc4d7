"""One modality in depth on drawn eyes: planted signs are recognised, and fine-tuning loses nothing of it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rerun_project import Project

from visionfm import artifacts
from visionfm.data.synthetic import DISEASES, column, write_dataset

PEOPLE = 150  # a split, as in the demo
SIGNS = ["glaucoma", "cataract", "myopia"]
ENCODER = {
    "modality": "Fundus",
    "weights": "random",
    "arch": "vit_tiny_patch16_224",
    "image_size": 112,
    "seed": 1,
    "device": "cpu",
    "workers": 0,
}

pytestmark = pytest.mark.slow


def config() -> dict:
    """Three signs: the head on frozen features, recipe modern, and LoRA."""
    task = {
        "kind": "classification",
        "datasets": ["eyes"],
        "models": ["tiny"],
        "targets": {"signs": {"type": "multilabel", "classes": SIGNS}},
    }
    tuning = {"mode": "finetune", "epochs": 2, "device": "cpu", "workers": 0, "resources": {"gpu": 0, "threads": 1}}
    lora = {**tuning, "trainable": {"lora": {"rank": 8}}}
    eyes = {
        "modality": "Fundus",
        "root": "drawn/FundusClassificationMulti",
        "layout": "vfm",
        "labels": [column(name) for name in DISEASES],
        "path_pattern": "(?P<subject>s[0-9]+)_(?P<eye>[RL])",
        "split": {"validation": 0.2},
    }
    return {
        "encoders": {"fundus": ENCODER},
        "models": {"tiny": {"Fundus": "fundus"}},
        "datasets": {"eyes": eyes},
        "tasks": {
            "frozen": task,
            "tuned": {**task, "baselines": [], "training": tuning},
            "lora": {**task, "baselines": [], "training": lora},
        },
    }


def test_signs_are_recognised_and_fine_tuning_is_at_least_as_good_as_the_frozen_head(
    tmp_path: Path, commands: Path
) -> None:
    write_dataset("multi_cls", tmp_path / "drawn", number=PEOPLE, size=224, modalities=["Fundus"])
    project = Project(tmp_path, commands)
    project.config = config()
    project.run()
    rows = pq.read_table(tmp_path / "results/report/metrics.parquet").to_pylist()
    found = {
        (row["task"], row["run"], row["class"]): row
        for row in rows
        if (row["metric"], row["split"], row["dataset"], row["modality"]) == ("auroc", "test", "all", "all")
    }
    for task in ("frozen", "tuned", "lora"):
        for name in (*SIGNS, "macro"):
            row = found[task, "seed0", name]
            assert row["value"] >= 0.95 and row["ci_low"] <= row["value"] <= row["ci_high"], (task, name, row)
        # On validation never below (the test is of other people: equal up to chance).
        assert found[task, "seed0", "macro"]["value"] >= found["frozen", "seed0", "macro"]["value"] - 0.005
    for task in ("tuned", "lora"):
        table = artifacts.read_table(tmp_path / f"results/tasks/{task}/tiny/seed0/training.parquet").to_pandas()
        assert table.validation_loss[table.best].item() <= table.validation_loss[table.epoch == 0].item()
