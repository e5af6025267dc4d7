"""What each rule's jobs read and ask for, without Snakemake."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from visionfm.project.jobs import Jobs, Needs, carried, launcher, named, paths
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

RAW: dict[str, Any] = {
    "encoders": {
        "own": {"modality": "Fundus", "device": "cpu", "pretrain": {"datasets": ["f", "g"], "arch": "vit_tiny"}},
        "auto": {"modality": "Fundus", "pretrain": {"datasets": ["f"], "arch": "vit_tiny"}},
        "big": {"modality": "OCT", "weights": "w.pth", "resources": {"gpu": 4, "nodes": 2, "threads": 6, "mem_mb": 9}},
        "tuned": {"modality": "Fundus", "weights": "results/tasks/t/own/seed0/encoder.safetensors"},
    },
    "models": {"own": {"Fundus": "own"}, "big": {"OCT": "big"}},
    "datasets": {
        "f": {"modality": "Fundus", "root": "data/f", "layout": "imagefolder", "cohort": "c", "pack": {"size": 64}},
        "g": {"modality": "Fundus", "root": "data/g", "layout": "imagefolder", "cohort": "c", "split": {"like": "f"}},
        "o": {"modality": "OCT", "root": "data/o", "layout": "segmentation", "shards": 2},
    },
    "tasks": {
        "t": {
            "kind": "classification",
            "datasets": ["f"],
            "models": ["own"],
            "targets": {"label": {"type": "multiclass", "classes": 2}},
            "training": {"mode": "finetune", "device": "cuda", "resources": {"runtime": 5}},
        },
        "m": {"kind": "segmentation", "datasets": ["o"], "models": ["big"], "targets": {"fluid": {"classes": 2}}},
    },
}


@pytest.fixture
def jobs() -> Jobs:
    return Jobs(Plan(parse_config(RAW)), lambda: 0)


def test_files_are_named_by_their_dataset_and_stand_once_among_the_inputs(jobs: Jobs) -> None:
    found = jobs.images(["f", "o"])
    assert named(found)[-1] == "o=results/datasets/o/images.1.parquet"
    assert paths([*found, *found]) == [path for _, path in found]
    assert named(jobs.roots(["g"])) == ["g=data/g"]
    assert named(jobs.packs(["f", "g"])) == ["f=results/packs/f/64px.parquet"]
    assert jobs.split_leader("g") == [jobs.plan.labels("f")] and jobs.split_leader("f") == []


def test_needs_are_the_configs_wishes_and_the_rules_own_where_it_has_none(jobs: Jobs) -> None:
    assert jobs.pretrain("own") == Needs(threads=8, mem_mb=32_000, runtime_min=1440, gpus=0)
    assert jobs.extract("big") == Needs(threads=6, mem_mb=9, runtime_min=240, gpus=4, nodes=2)
    assert jobs.finetune("t") == Needs(threads=8, mem_mb=16_000, runtime_min=5, gpus=1)
    assert jobs.extract_finetuned("t") == Needs(threads=8, mem_mb=8_000, runtime_min=240, gpus=1)


def test_on_auto_a_job_asks_for_a_gpu_where_there_are_any_to_be_had(jobs: Jobs) -> None:
    assert jobs.extract("tuned").gpus == jobs.pretrain("auto").gpus == 0
    asked: list[int] = []
    cluster = Jobs(jobs.plan, lambda: asked.append(1) or 4)
    assert cluster.extract("tuned").gpus == cluster.pretrain("auto").gpus == 1 and len(asked) == 1
    assert cluster.extract("tuned").threads == 8 > jobs.extract("tuned").threads  # they decode what it encodes
    assert cluster.pretrain("own").gpus == 0 and cluster.extract("big").gpus == 4


def test_patch_tokens_and_decoders_are_computed_on_one_device(jobs: Jobs) -> None:
    assert jobs.dense("big")[-2:] == (1, 1)
    assert jobs.train("t").gpus == jobs.predict("t").gpus == 1 and jobs.train("m").gpus == 0


def test_dense_tasks_read_the_encoder_and_the_images_beside_their_caches(jobs: Jobs) -> None:
    assert paths(jobs.dense_encoders("m", "big")) == ["results/encoders/big/encoder.safetensors"]
    assert jobs.dense_flags("m", "big")[-2:] == ["--roots", "o=data/o"] and jobs.dense_flags("t", "own") == []


def test_weights_that_this_run_makes_come_first(jobs: Jobs) -> None:
    assert jobs.made_weights("tuned") == [jobs.config.encoders["tuned"].weights] and jobs.made_weights("big") == []


def test_a_stage_is_launched_only_onto_devices(jobs: Jobs) -> None:
    assert launcher(0) == "exec visionfm"
    assert launcher(2, 3, 4) == "exec visionfm launch --gpus 2 --nodes 3 --threads 4 --"


@pytest.mark.parametrize("length", [10, 200_000])
def test_settings_reach_a_command_whatever_their_length(length: int, tmp_path: Path) -> None:
    """Linux takes no argument of more than 128 KiB; the shell's own `printf` takes any."""
    settings = json.dumps({"title": 'it\'s {4} "eyes" $HOME `x` \\', "subjects": "\u00e9" * length}, ensure_ascii=False)
    script = f"set -euo pipefail; {sys.executable} -c 'import sys; print(sys.argv[1])' {carried(settings)}"
    (tmp_path / "script.sh").write_text(script)
    for _ in range(2):
        done = subprocess.run(["bash", "script.sh"], cwd=tmp_path, capture_output=True, text=True, check=True)
        said = done.stdout.removesuffix("\n")
        assert (tmp_path / said[1:]).read_text() == settings if length > 10 else said == settings
    assert length == 10 or said.startswith("@results/logs/")


def test_a_new_image_or_weights_file_is_seen(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert jobs.images_state("f") == jobs.weights_state("big") == "missing"
    Path("data/f/sick").mkdir(parents=True)
    before = Jobs(jobs.plan, lambda: 0).images_state("f")
    Path("data/f/sick/a.png").write_bytes(b"")
    Path("w.pth").write_bytes(b"")
    after = Jobs(jobs.plan, lambda: 0)
    assert after.images_state("f") != before and after.weights_state("big") != "missing"


def test_a_datasets_folder_is_listed_once_however_many_shards_ask(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/o/training/images").mkdir(parents=True)
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    assert len({jobs.images_state("o") for _ in range(40)}) == len({jobs.labels_state("o") for _ in range(40)}) == 1
    assert listed.count(str(Path("data/o/training/images"))) == 2  # its folders, and its files
