"""The published trees of masks and landmarks, drawn and as noise, run through; a changed mask encodes nothing."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rerun_project import Project, assert_same

from visionfm.synthetic.dataset import write_dataset
from visionfm.synthetic.partners import POINTS


def config(noise: bool) -> dict:
    """A task on each tree, of five classes and of all its points, with a small encoder."""
    people = {} if noise else {"path_pattern": "(?P<subject>s[0-9]+)_(?P<eye>[RL])"}
    names = ["point0", "point1", "point2"] if noise else list(POINTS["UBM"])
    split = {"validation": 0.3}
    datasets = {
        "layers": {"modality": "OCT", "root": "seg/OCTSegmentation", "layout": "segmentation", "split": split,
                   **people},
        "angle": {"modality": "UBM", "root": "lm/LandmarkDetection", "layout": "landmark", "labels": names,
                  "split": split, "columns": {"mm_per_px": 0.05}, **people},
        "new": {"modality": "OCT", "root": "seg/OCTSegmentation/dataset_A/test/images", "layout": "table",
                "labels": "none"},
    }  # fmt: skip
    encoder = {"modality": "any", "weights": "random", "arch": "vit_tiny_patch16_224", "image_size": 32}
    same = {"models": ["tiny"], "image_size": 32, "training": {"epochs": 2, "batch_size": 4}}
    swaps = {} if noise else {"swaps": [names[:2], names[2:]]}
    tasks = {
        "layers": {"kind": "segmentation", "datasets": ["layers"], "external": ["new"],
                   "targets": {"layer": {"classes": 5}}, **same},
        "angle": {"kind": "landmarks", "datasets": ["angle"], "targets": {name: {} for name in names}, **swaps,
                  "success_mm": [1.0], **same},
    }  # fmt: skip
    blocks = {
        "encoders": {"any": {**encoder, "device": "cpu", "workers": 0, "statistics": "imagenet"}},
        "models": {"tiny": {"any": "any"}},
        "report": {"pictures": "examples"},
    }
    return {**blocks, "datasets": datasets, "tasks": tasks}


def start(folder: Path, commands: Path, noise: bool) -> Project:
    write_dataset("segmentation", folder / "seg", number=5, size=64, modalities=["OCT"], noise=noise)
    write_dataset("landmark", folder / "lm", number=5, size=64, modalities=["UBM"], noise=noise)
    project = Project(folder, commands)
    project.config = config(noise)
    return project


def check(project: Project) -> None:
    folder = project.folder / "results"
    metrics = pq.read_table(folder / "report/metrics.parquet").to_pylist()
    found = {(row["task"], row["metric"]) for row in metrics if row["split"] == "test" and row["value"] is not None}
    assert {("layers", "dice"), ("layers", "iou"), ("angle", "mre"), ("angle", "mre_mm")} <= found
    page = (folder / "report/index.html").read_text()
    assert page.count('<figure class="case">') == 6 and "Best, median and worst" in page
    masks = sorted((folder / "tasks/layers/tiny/seed0/masks").rglob("*.png"))
    assert masks and {Image.open(file).size for file in masks} == {(64, 64)}
    assert any("/new/" in str(file) for file in masks)  # images without labels are predicted too


@pytest.mark.parametrize("noise", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["drawn", "noise"])
def test_the_published_trees_run_through(noise: bool, tmp_path: Path, commands: Path) -> None:
    project = start(tmp_path, commands, noise)
    project.run()
    check(project)
    assert project.run() == []


@pytest.mark.slow
def test_a_changed_mask_encodes_nothing_and_ends_in_the_bytes_of_a_clean_run(tmp_path: Path, commands: Path) -> None:
    project = start(tmp_path / "project", commands, False)
    project.run()
    before = project.results()
    mask = next((project.folder / "seg/OCTSegmentation/dataset_A/test/labels").iterdir())
    pixels = np.asarray(Image.open(mask)).copy()
    pixels[:8] = 1
    Image.fromarray(pixels).save(mask)
    calls = project.run()
    stages = {call.stage for call in calls if not call.unchanged}
    assert stages == {"label", "audit", "fuse", "predict", "evaluate", "report"}, stages
    assert not any("angle" in call.output for call in calls)
    after = project.results()
    decoder = "tasks/layers/tiny/seed0/decoder.safetensors"
    assert after[decoder] == before[decoder]  # test masks train nothing
    assert after["tasks/layers/tiny/seed0/masks.zip"] != b"" and after != before
    clean = project.copy(tmp_path / "clean", with_results=False)
    clean.run()
    assert_same(clean.results(), after)
