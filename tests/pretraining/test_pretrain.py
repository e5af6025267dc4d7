"""The stage: what it writes, what keeps a finished encoder, and one clear error for each kind of bad input."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch
from world.small_training import Small

from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS
from visionfm.cli import main
from visionfm.encoders.vit import load_encoder
from visionfm.errors import ConfigError
from visionfm.pretraining.distillation import Distillation
from visionfm.pretraining.settings import ImageSetSettings
from visionfm.pretraining.step import Step
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small(tmp_path_factory.mktemp("trained"))
    assert small.run(small.settings(epochs=2)) == 0
    return small


def test_the_encoder_is_used_like_an_imported_one(trained: Small) -> None:
    encoder = load_encoder(trained.out)
    assert (encoder.arch, encoder.modality, encoder.image_size) == ("test_vit", "Fundus", 48)
    features = encoder([trained.root / "000.png", trained.root / "001.png"])
    assert bool(features.cls_BLD.isfinite().all()) and not torch.equal(features.cls_BLD[0], features.cls_BLD[1])


def test_the_curves_say_what_was_done_and_hold_no_time(trained: Small) -> None:
    rows = pq.read_table(trained.curves).to_pylist()
    assert [(row["epoch"], row["step"], row["images"]) for row in rows] == [(1, 2, 16), (2, 4, 32)]
    assert {"loss", "loss_cls", "loss_patch", "lr", "weight_decay", "momentum", "gradient_norm", "rank_me"} <= set(
        rows[0]
    )
    assert not [name for name in rows[0] if "second" in name or "time" in name or "speed" in name]


def test_more_images_a_higher_version_and_another_machine_keep_the_encoder(
    trained: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained.out.read_bytes()
    trained.add(23)
    monkeypatch.setitem(VERSIONS, "pretrain", 99)
    trained.out.unlink()  # as Snakemake does before it reruns a job
    monkeypatch.setattr(Step, "learn", lambda *_: pytest.fail("it was trained again"))
    assert trained.run(trained.settings(epochs=2, workers=1, checkpoint_minutes=7)) == 0
    assert trained.out.read_bytes() == before
    said = capsys.readouterr().err
    assert "trained on 20 of 23 images" in said and "visionfm forget" in said


def test_an_unfinished_training_goes_on_with_the_images_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(tmp_path)
    settings = small.settings(epochs=2)
    with monkeypatch.context() as patched:
        patched.setattr("visionfm.runtime.interruption.StopFlag.__call__", lambda _: True)
        assert small.run(settings) == 75
    small.add(30)
    assert small.run(settings) == 0
    assert artifacts.read_metadata(small.out)["trained_images"] == "20"


def test_another_config_begins_anew_and_says_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = Small(tmp_path, images=8)
    assert small.run(small.settings(epochs=1)) == 0
    saved = next(small.out.parent.glob("pretraining/*/step-*"))
    assert small.run(small.settings(epochs=1, out_dim=32, patch_out_dim=32)) == 0
    assert "of another config and is not used: recipe.out_dim was 64, is 32" in capsys.readouterr().err
    arguments = [*small.arguments(small.settings(epochs=2)), "--resume", str(saved)]
    assert main(arguments) == 3
    assert "recipe.epochs was 1, is 2" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_with_step_images_and_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Small(tmp_path)
    original = Distillation._losses

    def losses(self: Distillation, given: Any, values: Any) -> Any:
        found = original(self, given, values)
        return found._replace(total=found.total * float("nan")) if values.lr > 2e-5 else found

    monkeypatch.setattr(Distillation, "_losses", losses)
    assert small.run(small.settings(epochs=4)) == 3
    assert re.search(
        r"step 3 \(epoch 2\); images eyes/\d+\.png, .*last good checkpoint: .*step-000000002", capsys.readouterr().err
    )


def test_without_room_for_checkpoints_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Usage(NamedTuple):
        total: int = 10**9
        used: int = 10**9
        free: int = 10**6

    small = Small(tmp_path, images=8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    assert small.run(small.settings()) == 3
    said = capsys.readouterr().err
    assert "no room for the checkpoints" in said and "nothing was computed" in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_size": 50}, "50 px do not divide into the patches"),
        ({"augment": {"local_crops": 1, "local_size": 40}}, "as local crops"),
        ({"arch": "resnet18"}, "resnet18 cannot be an encoder"),
        ({"arch": "vit_small_patch16_dinov3"}, "cannot be pretrained here"),
        ({"datasets": {"eyes": ImageSetSettings(modality="OCT")}}, "expected OCT, found Fundus"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_error(
    fields: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Small(tmp_path, images=8)
    assert small.run(small.settings(**fields)) == 3
    assert said in capsys.readouterr().err


def test_fewer_images_than_a_batch_are_trained_on_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Small(tmp_path, images=5)
    assert small.run(small.settings(epochs=1)) == 0
    assert "5 images are fewer than a batch of 8" in capsys.readouterr().err
    assert pq.read_table(small.curves)["images"].to_pylist() == [5]


# --- the config -----------------------------------------------------------------------------------------------------


def config(encoder: dict[str, Any], datasets: dict[str, str] | None = None) -> dict[str, Any]:
    described = {
        name: {"modality": modality, "root": name, "layout": "vfm", "labels": "none"}
        for name, modality in (datasets or {"eyes": "Fundus"}).items()
    }
    return {"encoders": {"own": encoder}, "datasets": described, "models": {}, "tasks": {}}


def test_a_pretrained_encoder_is_part_of_everything_and_its_datasets_are_audited() -> None:
    block = {"modality": "Fundus", "pretrain": {"datasets": ["eyes"], "arch": "vit_small_patch16_224", "init": None}}
    plan = Plan(parse_config(config(block)))
    assert {plan.encoder("own"), plan.pretraining_curves("own"), *plan.images("eyes")} <= set(plan.everything())
    assert plan.trained_on("own") == ["eyes"] and plan.weights_sum("own") == []
    settings = plan.pretraining.pretrain_settings("own")
    assert settings.recipe.epochs == 400 and settings.recipe_name == "published" and settings.gpu == 0


def test_the_block_may_set_any_field_of_the_recipe() -> None:
    fields = {"epochs": 7, "augment": {"local_crops": 2}, "centring": "mean"}
    block = {"modality": "Fundus", "pretrain": {"datasets": ["eyes"], "arch": "a", "recipe": "modern", **fields}}
    recipe = Plan(parse_config(config(block))).pretraining.pretrain_settings("own").recipe
    assert (recipe.epochs, recipe.augment.local_crops, recipe.centring) == (7, 2, "mean")
    assert recipe.augment.keep_aspect and recipe.head == "separate"


@pytest.mark.parametrize(
    ("modality", "block", "said"),
    [
        ("Fundus", {"datasets": ["eyes"]}, "needs arch"),
        ("Fundus", {"datasets": ["eye"], "arch": "a"}, "did you mean 'eyes'"),
        ("OCT", {"datasets": ["eyes"], "arch": "a"}, "eyes is of Fundus, the encoder of OCT"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "scheme": "mix"}, "say `modality: any`"),
        ("any", {"datasets": ["eyes"], "arch": "a"}, "`scheme: mix` for several"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "epoch": 3}, "did you mean 'epochs'"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "out_dim": 5}, "a shared head has one width"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "drop_path": 1.5}, "less than 1"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "mask_ratio": [0.3]}, "one value for each other"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "init_head": True}, "belong to `init`"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "recipe": "instances"}, "continues from given weights"),
        ("Fundus", {"datasets": ["eyes"], "init": "a", "recipe": "instances", "noise": 0.1}, "has no `noise`"),
        ("Fundus", {"datasets": ["eyes"], "init": "a", "out_dim": 5}, "a shared head has one width"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "augment": {"global_crops": 1}}, "a teacher and its student"),
        ("Fundus", {"datasets": ["eyes"], "arch": "a", "knn": {"dataset": "eyez", "target": "dr"}}, "did you mean"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_before_anything_runs(
    modality: str, block: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_config(config({"modality": modality, "pretrain": block}))
