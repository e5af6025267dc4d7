"""All eight fine-tuning examples run, in one workflow, on noise laid out like the public sets."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from visionfm import artifacts
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((CHECKOUT / "config/examples/finetune").glob("*.yaml"))
IMAGES = {"train": 4, "val": 2, "test": 2}

pytestmark = pytest.mark.slow


def draw(folder: Path, classes: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for split, count in IMAGES.items():
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for n in range(count):
                pixels = rng.integers(0, 255, (40, 44, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{n}.png")


def test_all_eight_run_to_the_report(tmp_path: Path, commands: Path) -> None:
    changes: dict = {"encoders": {}, "tasks": {}}
    for seed, path in enumerate(EXAMPLES):
        plan = Plan(load_config(path))
        (task,), (encoder,) = plan.config.tasks, plan.config.encoders
        (target,) = plan.tasks.targets(task).values()
        draw(tmp_path / plan.config.datasets[task].root, target.classes, seed)
        small = {"weights": "random", "arch": "vit_tiny_patch16_224", "image_size": 32, "device": "cpu", "workers": 0}
        changes["encoders"][encoder] = small
        training = {"epochs": 1, "device": "cpu", "workers": 0, "batch_size": 16, "resources": {"gpu": 0, "threads": 1}}
        changes["tasks"][task] = {"training": training, "baselines": []}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(changes))
    command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", str(tmp_path), "--cores", "2"]
    command += ["--configfile", *map(str, EXAMPLES), str(tmp_path / "small.yaml")]
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = pq.read_table(tmp_path / "results/report/metrics.parquet").to_pylist()
    found = {
        row["task"]: row for row in rows if (row["metric"], row["class"], row["split"]) == ("auroc", "macro", "test")
    }
    assert sorted(found) == sorted(path.stem for path in EXAMPLES)
    assert all(row["value"] is not None and row["ci_low"] < row["ci_high"] for row in found.values())
    decoder = artifacts.read_tensors(tmp_path / "results/tasks/jsiec/visionfm/seed0/decoder.safetensors")[0]
    assert decoder["classifier.6.weight"].shape == (39, 4 * 192 // 4)
