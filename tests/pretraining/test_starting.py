"""A training starts from published weights, and its checkpoints can be read by whoever reads published ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from world.small_training import Small

from visionfm import artifacts
from visionfm.cli import main
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.encoders.vit import load_encoder
from visionfm.pretraining.starting import start


def published_weights(path: Path, key: str) -> dict[str, torch.Tensor]:
    """Read a file as the published code does: all `module.` and `backbone.` in names deleted, no strictness."""
    content = torch.load(path, weights_only=True)
    return {name.replace("module.", "").replace("backbone.", ""): value for name, value in content[key].items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small(tmp_path_factory.mktemp("trained"))
    assert small.run(small.settings(epochs=2)) == 0
    return small


@pytest.fixture(scope="module")
def published(trained: Small) -> Path:
    file = trained.folder / "published.pth"
    assert main(["publish", str(trained.out.parent), "--out", str(file)]) == 0
    return file


def test_a_published_pretraining_file_continues_training(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "visionfm_vit_tiny_teacher.pth"
    small = Small(tmp_path, images=8)
    settings = small.settings(epochs=1, arch=None, init=str(golden), image_size=32)
    begun = start(settings, 8)
    assert begun.arch == "vit_tiny_patch16_224" and begun.licence == "CC BY-NC 4.0"
    imported = tmp_path / "imported.safetensors"
    import_encoder(ImportSettings(modality="Fundus", weights=str(golden), image_size=32), imported)
    stored, _ = artifacts.read_tensors(imported)
    for network in begun.pair:
        mine = network.backbone.vit.state_dict()
        for name in set(stored) - {"pos_embed"}:
            np.testing.assert_array_equal(mine[name], stored[name])
    assert begun.pair.student.backbone.masked_embed is not None
    assert small.run(settings) == 0
    metadata = artifacts.read_metadata(small.out)
    assert json.loads(metadata["source"])["licence"] == "CC BY-NC 4.0"
    assert not np.array_equal(artifacts.read_tensors(small.out)[0]["norm.weight"], stored["norm.weight"])


def test_a_checkpoint_in_published_naming_is_read_as_a_published_one(trained: Small, published: Path) -> None:
    ours, _ = artifacts.read_tensors(trained.out)
    teacher = published_weights(published, "teacher")
    assert set(ours) <= set(teacher)
    for name, value in ours.items():
        np.testing.assert_array_equal(teacher[name], value)
    student = published_weights(published, "student")
    assert set(student) == {*teacher, "masked_embed"}
    heads = {"head.mlp.0.weight", "head.last_layer.weight_g", "head.last_layer.weight_v", "head.last_layer2.weight_v"}
    assert heads <= set(teacher)
    content = torch.load(published, weights_only=True)
    assert content["ibot_loss"]["center"].shape == (1, 64) and content["ibot_loss"]["center2"].shape == (1, 1, 64)
    assert content["epoch"] == 2 and all(name.startswith("module.") for name in content["student"])


def test_import_takes_the_encoder_out_of_it_again(trained: Small, published: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    import_encoder(ImportSettings(modality="Fundus", weights=str(published), arch="test_vit", image_size=48), again)
    images = [trained.root / "000.png"]
    assert torch.equal(load_encoder(again)(images).cls_BLD, load_encoder(trained.out)(images).cls_BLD)


def test_student_head_mask_token_and_centres_come_back(trained: Small, published: Path) -> None:
    settings = trained.settings(init=str(published), init_key="student", init_head=True, arch="test_vit")
    begun = start(settings, 8)
    student = published_weights(published, "student")
    mine = begun.pair.student.state_dict()
    for name, value in mine.items():
        theirs = student[name.removeprefix("backbone.").removeprefix("vit.")]
        assert torch.equal(value, theirs), name
    assert set(begun.state) == {"centre.cls", "centre.patch"} and bool(begun.state["centre.cls"].any())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"init_head": True, "out_dim": 32, "patch_out_dim": 32}, "head.last_layer.weight_v"),
        ({"init_head": True, "out_dim": 32, "patch_out_dim": 32}, "expected (32, 16), found (64, 16)"),
        ({"init_key": "studend"}, "studend"),
    ],
)
def test_weights_that_do_not_fit_are_one_clear_error(
    fields: dict[str, Any], said: str, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Small(tmp_path, images=8)
    assert small.run(small.settings(init=str(published), arch="test_vit", **fields)) == 3
    assert said.removeprefix("head.") in capsys.readouterr().err


def test_registers_are_added_to_weights_that_have_none(published: Path, tmp_path: Path) -> None:
    small = Small(tmp_path, images=8)
    settings = small.settings(init=str(published), arch="test_vit", registers=2)
    vit = start(settings, 8).pair.teacher.backbone.vit
    assert vit.reg_token.shape[1] == 2 and vit.pos_embed.shape[1] == 1 + 2 + 9
    assert small.run(small.settings(init=str(published), arch="test_vit", registers=2, epochs=1)) == 0
    assert load_encoder(small.out)([small.root / "000.png"]).patches_BPD.shape[1] == 9


def test_nothing_to_start_from_is_drawn_from_the_seed_alone(tmp_path: Path) -> None:
    small = Small(tmp_path, images=8)
    one, same, other = (start(small.settings(seed=seed), 8).pair.student.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["backbone.vit.pos_embed"], other["backbone.vit.pos_embed"])
