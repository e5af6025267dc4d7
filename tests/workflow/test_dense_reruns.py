"""Dense tasks through the workflow: edits and failures end in the bytes of a clean run, and encode nothing twice."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rerun_project import DRAWN_NS, Project, assert_same, write_weights

pytestmark = pytest.mark.slow
SUBJECTS = 8
DENSE = {
    "encoders": {"fundus": {"modality": "Fundus", "weights": "a.pth", "device": "cpu", "workers": 0}},
    "models": {"tiny": {"Fundus": "fundus"}},
    "datasets": {
        "eyes": {
            "modality": "Fundus",
            "root": "eyes",
            "layout": "table",
            "table": "labels.csv",
            "images": "img/*",
            "columns": {
                "image": "file",
                "subject": "patient",
                "split": "split",
                "mask": "mask",
                "points": {"disc": ["x", "y"]},
            },
            "split": {"validation": 0.3},
        }
    },
    "tasks": {
        "mask": {
            "kind": "segmentation",
            "datasets": ["eyes"],
            "models": ["tiny"],
            "image_size": 64,
            "targets": {"disc": {"classes": {"background": 0, "disc": 255}}},
            "training": {"epochs": 2},
        },
        "point": {
            "kind": "landmarks",
            "datasets": ["eyes"],
            "models": ["tiny"],
            "image_size": 64,
            "targets": {"disc": {}},
            "training": {"epochs": 2},
        },
    },
}


def draw(folder: Path, number: int, radius: int = 8) -> str:
    """Draw a bright disc with its mask; return its line of the table."""
    rng = np.random.default_rng(number)
    x, y = rng.integers(12, 36, 2)
    yy, xx = np.mgrid[:48, :56]
    inside = (xx - x) ** 2 + (yy - y) ** 2 < radius**2
    pixels = rng.integers(0, 90, (48, 56, 3)).astype(np.uint8)
    pixels[inside] += np.uint8(140)
    for name, array in ((f"img/{number}.png", pixels), (f"masks/{number}.png", (inside * 255).astype(np.uint8))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
        os.utime(path, ns=(DRAWN_NS, DRAWN_NS))
    split = "test" if number >= SUBJECTS - 3 else "train"
    return f"img/{number}.png,masks/{number}.png,p{number},{split},{x},{y}\n"


@pytest.fixture(scope="session")
def dense_fresh(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> Project:
    folder = tmp_path_factory.mktemp("dense") / "project"
    lines = [draw(folder / "eyes", number) for number in range(SUBJECTS)]
    (folder / "eyes/labels.csv").write_text("file,mask,patient,split,x,y\n" + "".join(lines))
    write_weights(folder.parent / "a.pth", 0)
    (folder / "a.pth").symlink_to(folder.parent / "a.pth")
    project = Project(folder, commands)
    project.config = DENSE
    return project


@pytest.fixture(scope="session")
def dense_finished(tmp_path_factory: pytest.TempPathFactory, dense_fresh: Project) -> Project:
    project = dense_fresh.copy(tmp_path_factory.mktemp("dense_finished") / "project")
    project.run()
    return project


def correct_mask(project: Project) -> None:
    path = project.folder / "eyes/masks/1.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[:4] = 255
    Image.fromarray(mask).save(path)


def add_image(project: Project) -> None:
    with (project.folder / "eyes/labels.csv").open("a") as table:
        table.write(draw(project.folder / "eyes", SUBJECTS).replace(",test,", ",train,"))


def shrink_budget(project: Project) -> None:
    config = project.config
    config["tasks"]["mask"]["dense_cache"] = config["tasks"]["point"]["dense_cache"] = {"max_gb": 1e-6}
    project.config = config


@pytest.mark.parametrize(
    ("edit", "encodes"),
    [(correct_mask, 0), (add_image, 1), (shrink_budget, 0)],
    ids=lambda v: getattr(v, "__name__", v),
)
@pytest.mark.parametrize("broken", [None, "dense", "train", "predict"])
def test_an_edit_ends_in_the_bytes_of_a_clean_run(
    dense_finished: Project, tmp_path: Path, edit: Callable[[Project], None], encodes: int, broken: str | None
) -> None:
    project = dense_finished.copy(tmp_path / "project")
    edit(project)
    clean = project.copy(tmp_path / "clean", with_results=False)
    calls = []
    if broken is not None:
        (project.folder / f"fail-{broken}").touch()
        calls += project.run(
            "--keep-going", fails=(project.folder / f"fail-{broken}").exists() and _starts(project, broken)
        )
        (project.folder / f"fail-{broken}").unlink(missing_ok=True)
    calls += project.run()
    clean.run()
    assert_same(project.results(), clean.results())
    logs = "".join(call.log for call in calls if call.stage == "dense")
    assert sum(map(int, re.findall(r"encoded (\d+),", logs))) == encodes


def _starts(project: Project, stage: str) -> bool:
    """Tell whether the workflow would start a stage."""
    return f"visionfm {stage}" in project.snakemake("-n", "-p").stdout


def test_a_corrected_mask_trains_the_masks_alone(dense_finished: Project, tmp_path: Path) -> None:
    project = dense_finished.copy(tmp_path / "project")
    correct_mask(project)
    trained = [call.output for call in project.run() if call.stage == "train" and not call.unchanged]
    assert trained == ["results/tasks/mask/tiny/seed0/decoder.safetensors"]


def test_a_forced_run_computes_nothing(dense_finished: Project, tmp_path: Path) -> None:
    project = dense_finished.copy(tmp_path / "project")
    before = project.results()
    calls = project.run("-F")
    assert all(call.unchanged for call in calls if call.stage in ("dense", "train", "predict"))
    assert_same(project.results(), before)
