"""`visionfm du` says what takes the disk; `visionfm gc` frees the artefacts that no config names, and nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from visionfm import artifacts
from visionfm.artifacts.inventory import stored
from visionfm.cli import main
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan

CONFIG: dict[str, Any] = {
    "encoders": {
        "e": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"},
        "unused": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"},
    },
    "models": {"m": {"Fundus": "e"}},
    "datasets": {"d": {"modality": "Fundus", "root": "data/d", "layout": "imagefolder"}},
    "tasks": {
        "t": {
            "kind": "classification",
            "datasets": ["d"],
            "models": ["m"],
            "targets": {"label": {"type": "multiclass", "classes": 2}},
        }
    },
}


def write(path: str, text: str = "x") -> Path:
    """Write an artefact, whatever its suffix says: only that it is kept matters here."""
    artifacts.publish(path, text.encode())
    return Path(path)


@pytest.fixture
def config(results: Path) -> Path:
    path = Path("c.yaml")
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def everything(config: Path) -> list[Path]:
    """Write all that a config names."""
    return [write(path) for path in Plan(load_config(config)).everything()]


def test_what_takes_the_disk_is_told_by_folder_and_a_kept_copy_is_no_second_file(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("results/features/e/d.cls224.h5", "x" * 400_000)
    write("results/tasks/t/audit.parquet", "x" * 100_000).unlink()
    assert main(["du"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:2] == ["features/e", "1"] and 0.4 <= float(rows[1][2]) < 0.42 and float(rows[1][3]) == 0
    assert rows[2][:2] == ["tasks/t", "1"] and float(rows[2][3]) == float(rows[2][2])
    assert rows[3][:3] == ["in", "all", "2"]


def test_nothing_that_a_config_names_is_freed(config: Path) -> None:
    named = everything(config)
    assert main(["gc", str(config), "--delete"]) == 0
    assert all(path.is_file() and artifacts.kept_path(path).is_file() for path in named)


OLD = [
    "results/features/e/old.cls224.h5",
    "results/features/e/d.cls224.0.h5",  # of another number of shards
    "results/encoders/gone/encoder.safetensors",
    "results/encoders/gone/pretraining/0f/step-00000001.safetensors",
    "results/tasks/t/m/seed7/predictions.parquet",
    "results/datasets/old/labels.parquet",
    "results/features/e/old.cls224.parts/0123.h5",
]


def test_without_delete_it_only_says_what_would_go(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything(config)
    old = [write(path) for path in OLD]
    assert main(["gc", str(config)]) == 0
    said = capsys.readouterr().err
    assert f"gc: {len(old)} files" in said and "would be freed by --delete" in said
    assert all(path.is_file() for path in old)


def test_artefacts_of_other_configs_go_with_their_kept_copies(config: Path) -> None:
    named, old = everything(config), [write(path) for path in OLD]
    old[0].unlink()  # its kept copy is there
    assert main(["gc", str(config), "--delete"]) == 0
    assert not any(path.exists() or artifacts.kept_path(path).exists() for path in old)
    assert not Path("results/encoders/gone").exists()
    assert {one.inside for one in stored(Path("results"))} == {path.relative_to("results").as_posix() for path in named}


def test_files_of_users_an_unused_encoder_and_what_another_config_names_stay(config: Path) -> None:
    everything(config)
    users = [Path(path) for path in ("results/notes.txt", "results/tasks/t/m/seed7/mine.csv", OLD[1])]
    for path in users:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    mine = write("results/mine/d.cls224.h5")  # of `visionfm embed`, say: in no artefact's place
    encoder = write("results/encoders/unused/encoder.safetensors")
    given = write("results/tasks/old/m/seed0/encoder.safetensors")
    other = Path("other.yaml")
    other.write_text(yaml.safe_dump({**CONFIG, "encoders": {**CONFIG["encoders"], "e": {
        "modality": "Fundus", "weights": str(given)}}}))  # fmt: skip
    assert main(["gc", str(config), str(other), "--delete"]) == 0
    assert all(path.is_file() for path in [*users, mine, encoder, given])


def test_the_caches_that_a_given_decoder_answers_by_stay(config: Path) -> None:
    names = {"caches": {"old": ["../../../../features/e/old.cls224.h5"]}}
    tensors = {"neighbours": np.frombuffer(json.dumps(names).encode(), np.uint8)}
    decoder = Path("results/tasks/old/m/knn/decoder.safetensors")
    artifacts.write_tensors(decoder, tensors, artifacts.provenance("train", {}, {}), schema="visionfm/decoder/1")
    cache, other = write(OLD[0]), write("results/features/e/older.cls224.h5")
    task = {name: value for name, value in CONFIG["tasks"]["t"].items()} | {"decoder": str(decoder)}
    config.write_text(yaml.safe_dump({**CONFIG, "tasks": {"t": task}}))
    assert main(["gc", str(config), "--delete"]) == 0
    assert decoder.is_file() and cache.is_file() and not other.exists()


def test_weights_that_a_config_names_through_a_link_stay(config: Path) -> None:
    given = write("results/tasks/old/m/seed0/encoder.safetensors")
    Path("link").symlink_to(Path.cwd(), target_is_directory=True)
    encoder = {"modality": "Fundus", "weights": str(Path("link") / given)}
    config.write_text(yaml.safe_dump({**CONFIG, "encoders": {**CONFIG["encoders"], "e": encoder}}))
    assert main(["gc", str(config), "--delete"]) == 0
    assert given.is_file()


def test_a_file_that_lies_in_an_artefacts_place_but_is_none_stays(config: Path) -> None:
    path = Path(OLD[0])
    path.parent.mkdir(parents=True)
    path.write_text("of a user")
    assert main(["gc", str(config), "--delete"]) == 0
    assert path.read_text() == "of a user"
