"""Stage `finetune` from files to files."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from world.decoder_data import predict_settings
from world.finetuning_data import COUNT, Project, draw, tensors

from visionfm import artifacts
from visionfm.encoders.adapters import Lora
from visionfm.encoders.vit import load_encoder
from visionfm.errors import DataError, Stopped
from visionfm.features import extract
from visionfm.features.settings import ExtractSettings
from visionfm.tasks.finetuning import training as loop
from visionfm.tasks.finetuning.block import Trainable
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import TargetSpec

GRADES = {"grade": TargetSpec(type="multiclass", classes=["none", "some", "much"])}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def encoder_of(project):
    return tensors(project.encoder)


def test_encoder_and_decoder_both_learn_and_are_artefacts_like_any_other(project):
    outputs = project.run(epochs=2)
    before, after = encoder_of(project), tensors(outputs.encoder)
    assert before.keys() == after.keys()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert len(moved) > 0.9 * len(before)
    encoder = load_encoder(outputs.encoder)
    assert encoder.source["dialect"] == "finetuned" and encoder.image_size == 32
    rows = artifacts.read_table(outputs.training).to_pandas()
    assert rows.epoch.tolist() == [1, 2] and rows.best.sum() == 1 and set(rows.n_train) == {24}


def test_predict_reads_the_features_that_extract_makes_with_the_fine_tuned_encoder(project, monkeypatch):
    said = {}
    outputs_of = loop.Finetuning.outputs

    def spy(self):
        said[len(self.history)] = outputs_of(self)
        return said[len(self.history)]

    monkeypatch.setattr(loop.Finetuning, "outputs", spy)
    outputs = project.run(epochs=2)
    best = artifacts.read_table(outputs.training).to_pandas().query("best").epoch.item()
    index = project.folder / "images.parquet"
    images = [extract.IndexedImage(image["path"], image["image_id"]) for image in project.images]
    source = extract.Source(project.roots["eyes"], outputs.encoder, artifacts.payload_digest(outputs.encoder))
    settings = ExtractSettings(size=32, dtype="float32", device="cpu", workers=0)
    cache = project.folder / "run" / "features" / "eyes.cls32.h5"
    extract.extract(images, source, settings, cache, artifacts.provenance("extract", {}, {}))
    predict(outputs.decoder, project.samples, {"eyes": [cache]}, index, predict_settings(splits=["validation"]))
    found = artifacts.read_table(index).to_pandas().sort_values("sample_id").scores.str[0].to_numpy()
    assert np.abs(found - said[best - 1][:, 0].sigmoid().numpy()).max() < 1e-5


def test_the_same_settings_give_the_same_bytes_and_are_recalled_without_training(project, monkeypatch):
    first = [path.read_bytes() for path in project.run("one")]
    assert [path.read_bytes() for path in project.run("two")] == first
    monkeypatch.setattr(loop.Finetuning, "run", lambda *_: pytest.fail("trained again"))
    assert [path.read_bytes() for path in project.run("one", checkpoint_minutes=1, workers=1)] == first


def test_published_recipe_trains_head_and_encoder_at_their_rates_and_chooses_by_auroc(project, monkeypatch):
    groups = []
    step = loop.Finetuning._step

    def spy(self, *rest):
        found = step(self, *rest)
        groups.append([(group["lr"], group["weight_decay"]) for group in self.optimizer.param_groups])
        return found

    monkeypatch.setattr(loop.Finetuning, "_step", spy)
    outputs = project.run(recipe="published", epochs=4, batch_size=12)
    peak = 1e-3 * 12 / 256
    assert [sorted(found) for found in groups[:2]] == [
        [(pytest.approx(0.1 * peak), 0.05), (pytest.approx(peak), 0.05)]
    ] * 2
    assert max(groups[2])[0] == pytest.approx(peak * 0.5 * (1 + np.cos(np.pi / 4)))
    rows = artifacts.read_table(outputs.training).to_pandas()
    assert rows.selection.between(0, 1).all()
    assert rows.epoch[rows.best].item() == rows.epoch[rows.selection == rows.selection.max()].max()
    assert set(tensors(outputs.decoder)) >= {"channel_bn.running_mean", "classifier.6.weight"}


@pytest.mark.parametrize(
    "switches",
    [
        {"mixup": 0.8, "cutmix": 1.0, "ema": 0.9},
        {"randaugment": "rand-m9-mstd0.5-inc1", "random_erasing": 0.5, "class_balanced": True},
        pytest.param(
            {"precision": "bf16", "accumulate": 2, "checkpoint_activations": True, "drop_path": 0.3},
            marks=pytest.mark.slow,  # bf16 is slow where the processor lacks it
        ),
        {"label_smoothing": 0.0, "layer_decay": 1.0, "warmup_epochs": 0.0},
    ],
    ids=["mixing and average", "augmentation and balance", "memory", "off"],
)
def test_every_switch_trains(project, switches):
    row = artifacts.read_table(project.run(epochs=1, **switches).training).to_pandas().iloc[0]
    assert np.isfinite([row.train_loss, row.validation_loss]).all()


def test_accumulated_parts_and_recomputed_activations_give_the_same_step(project):
    same = {"epochs": 1, "label_smoothing": 0.0, "drop_path": 0.0, "random_erasing": 0.0, "warmup_epochs": 0.0}
    plain = tensors(project.run("plain", **same).encoder)
    parts = tensors(project.run("parts", **same, accumulate=2, checkpoint_activations=True).encoder)
    assert max(np.abs(plain[name] - parts[name]).max() for name in plain) < 2e-4


@pytest.mark.slow
def test_compiled_and_plain_agree(project):
    same = {"epochs": 1, "drop_path": 0.0}
    plain, compiled = (tensors(project.run(name, **same, compile=name == "c").encoder) for name in ("p", "c"))
    assert max(np.abs(plain[name] - compiled[name]).max() for name in plain) < 2e-3


def test_last_blocks_alone_move(project):
    after = tensors(project.run(trainable=Trainable(last=2), epochs=1).encoder)
    before = encoder_of(project)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved and all(name.startswith(("blocks.10.", "blocks.11.", "norm.")) for name in moved)


def test_more_last_blocks_than_there_are_is_an_error(project):
    with pytest.raises(DataError, match="not so many blocks"):
        project.run(trainable=Trainable(last=13))


def test_adapters_move_attention_alone_and_are_merged_into_a_plain_encoder(project):
    outputs = project.run(trainable=Trainable(lora=Lora(rank=4)), epochs=1, lr=0.5)
    after, before = tensors(outputs.encoder), encoder_of(project)
    assert after.keys() == before.keys()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {f"blocks.{n}.attn.{layer}.weight" for n in range(12) for layer in ("qkv", "proj")}
    difference = after["blocks.3.attn.qkv.weight"] - before["blocks.3.attn.qkv.weight"]
    assert np.linalg.matrix_rank(difference, tol=1e-4 * np.abs(difference).max() * 100) <= 4


def test_merged_adapters_compute_what_the_adapters_computed(project, monkeypatch):
    said = {}
    outputs_of = loop.Finetuning.outputs
    monkeypatch.setattr(loop.Finetuning, "outputs", lambda self: said.setdefault("network", self) and outputs_of(self))
    outputs = project.run(trainable=Trainable(lora=Lora(rank=4)), epochs=1, lr=0.1)
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    tuned = said["network"].network
    with torch.no_grad():
        expected = tuned.eval().encoder.trainable_features(images)[0]
    assert torch.allclose(load_encoder(outputs.encoder).cls_and_mean(images)[0], expected, atol=1e-5)


def test_values_are_fine_tuned_in_their_unit(tmp_path):
    hidden_N = np.random.default_rng(0).normal(size=COUNT)
    targets = {"iop": TargetSpec(type="value", unit="mmHg")}
    project = Project(tmp_path, {"iop": 16 + 3 * hidden_N}, targets)
    outputs = project.run(epochs=1)
    assert tensors(outputs.decoder)["targets.mean"] == pytest.approx(16, abs=2)
    published = project.run("published", epochs=1, recipe="published")
    assert "classifier.3.weight" in tensors(published.decoder)


def test_a_sign_in_the_images_is_learned(tmp_path):
    project = Project(tmp_path)
    outputs = project.run(epochs=12, warmup_epochs=1.0, random_erasing=0.0, patience=12, lr=4e-3)
    rows = artifacts.read_table(outputs.training).to_pandas()
    assert rows.validation_loss.min() < 0.55


def test_a_part_of_the_training_data_trains_on_that_part(project):
    rows = artifacts.read_table(project.run(shots=6, epochs=1).training).to_pandas()
    assert set(rows.n_train) == {12}


# --- resume ---------------------------------------------------------------------------------------------------------


def test_a_signal_saves_the_step_and_the_same_command_ends_in_equal_bytes(project, monkeypatch):
    switches = {"epochs": 3, "ema": 0.9, "mixup": 0.5, "workers": 0, "probe_first": True}
    whole = [path.read_bytes() for path in project.run("whole", **switches)]
    step = loop.Finetuning._step

    def step_then_signal(self, epoch, at, images):
        found = step(self, epoch, at, images)
        if (epoch, at) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(loop.Finetuning, "_step", step_then_signal)
    with pytest.raises(Stopped, match="SIGTERM in epoch 2, step 2"):
        project.run(**switches)
    assert not project.outputs().decoder.exists()
    monkeypatch.setattr(loop.Finetuning, "_step", step)
    assert [path.read_bytes() for path in project.run(**switches)] == whole
    assert not list(project.folder.parent.rglob("training-*"))


def test_killed_at_ten_random_steps_the_decoder_is_the_same(project, monkeypatch):
    class Killed(BaseException):
        """The process is gone: nothing is saved."""

    switches = {
        "epochs": 4,
        "checkpoint_minutes": 1e-9,
        "ema": 0.9,
        "trainable": Trainable(last=1),
        "recipe": "published",
    }
    whole = [path.read_bytes() for path in project.run("whole", **switches)]
    step = loop.Finetuning._step
    steps = 4 * 3
    kills = set(np.random.default_rng(0).choice(steps, 10, replace=False).tolist())

    def step_or_die(self, epoch, at, images):
        found = step(self, epoch, at, images)
        if epoch * self.steps + at in kills:
            kills.remove(epoch * self.steps + at)
            raise Killed
        return found

    monkeypatch.setattr(loop.Finetuning, "_step", step_or_die)
    deaths = 0
    while True:
        try:
            outputs = project.run(**switches)
            break
        except Killed:
            deaths += 1
    assert deaths == 10
    assert [path.read_bytes() for path in outputs] == whole


@pytest.mark.slow
def test_processes_killed_at_ten_random_steps_end_in_equal_bytes(project):
    switches = {"epochs": 4, "checkpoint_minutes": 1e-9, "ema": 0.9, "drop_path": 0.2, "probe_first": True}
    whole = [path.read_bytes() for path in project.run("whole", **switches)]
    code = "import os, signal, sys\nfrom visionfm import cli\nfrom visionfm.tasks.finetuning import training as loop\n"
    code += (
        "step = loop.Finetuning._step\ndef once(self, epoch, at, images):\n    found = step(self, epoch, at, images)\n"
    )
    code += "    if str(epoch * self.steps + at) == sys.argv[1]:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "    return found\nloop.Finetuning._step = once\nsys.exit(cli.main(sys.argv[2:]))"
    kills = sorted(np.random.default_rng(1).choice(4 * 3, 10, replace=False).tolist())
    for kill in [*kills, -1]:
        command = [sys.executable, "-c", code, str(kill), *project.arguments(**switches)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == (0 if kill < 0 else -signal.SIGKILL), done.stderr
    assert [path.read_bytes() for path in project.outputs()] == whole


# --- several processes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_and_stop_together(project):
    switches = {"epochs": 2, "drop_path": 0.0, "warmup_epochs": 0.0, "batch_size": 8}
    start = encoder_of(project)
    alone = tensors(project.run("alone", **switches).encoder)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "visionfm"]
    arguments = project.arguments("together", **switches)[:-2]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    together = tensors(project.outputs("together").encoder)
    for name in ("blocks.0.attn.qkv.weight", "blocks.11.mlp.fc1.weight", "pos_embed"):
        one, two = (found[name].ravel() - start[name].ravel() for found in (alone, together))
        assert np.corrcoef(one, two)[0, 1] > 0.98, name


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_changed_image_is_an_error_that_names_it(project):
    draw(project.roots["eyes"], project.hidden_N + 1)
    with pytest.raises(DataError, match="changed since index"):
        project.run()


def test_mixup_of_single_images_is_an_error_that_says_what_to_do(project):
    with pytest.raises(ValueError, match="batch_size: at least two samples"):  # `check` says it of the config
        project.run(mixup=0.8, batch_size=1)
    with pytest.raises(DataError, match="two in each part"):  # fewer training samples than the batch
        project.run(mixup=0.8, batch_size=64, accumulate=30)


def test_a_last_batch_of_one_image_is_left_out_and_said(project, caplog):
    caplog.set_level("INFO")
    rows = artifacts.read_table(project.run(epochs=1, batch_size=23, mixup=0.8).training)
    assert len(rows) == 1 and "the last batch of each epoch has 1 samples, too few: it is left out" in caplog.text


def test_validation_of_one_class_cannot_choose_by_auroc(tmp_path):
    labels = [float(n % 2) if n % 5 != 3 else 0.0 for n in range(COUNT)]
    project = Project(tmp_path, {"sick": labels})
    with pytest.raises(DataError, match="validation cannot choose an epoch by the AUROC of sick"):
        project.run(recipe="published", epochs=1)


def test_a_loss_that_is_no_number_is_an_error_and_writes_nothing(project):
    with pytest.raises(DataError, match="not a finite number"):
        project.run(lr=1e18, epochs=3, warmup_epochs=0.0)
    assert not project.outputs().decoder.exists()


def test_metadata_of_the_decoder_say_how_it_was_made(project):
    metadata = artifacts.read_metadata(project.run(epochs=1).decoder)
    assert (metadata["recipe"], metadata["n_train"], json.loads(metadata["inputs"]).keys()) == (
        "modern",
        "24",
        {"train", "encoder"},
    )


def test_the_head_on_frozen_features_is_the_first_candidate(project, monkeypatch):
    monkeypatch.setattr(loop.Finetuning, "_step", lambda self, *_: (0.0, 1))
    rows = artifacts.read_table(project.run(epochs=1, probe_first=True).training).to_pandas()
    assert rows.epoch.tolist() == [0, 1]
    # Nothing moved after the head was trained alone; only the features' statistics are taken anew, over one view.
    assert rows.validation_loss[0] == pytest.approx(rows.validation_loss[1], abs=0.01) and rows.validation_loss[0] < 0.1


def test_fine_tuning_that_only_harms_ends_with_the_frozen_encoder_and_its_head(project, caplog):
    caplog.set_level("INFO")
    outputs = project.run(probe_first=True, epochs=3, lr=0.5, warmup_epochs=0.0, ema=0.5)
    rows = artifacts.read_table(outputs.training).to_pandas()
    assert rows.epoch[rows.best].item() == 0 and rows.validation_loss.idxmin() == 0
    before, after = encoder_of(project), tensors(outputs.encoder)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert "best epoch 0 of 3" in caplog.text
    ours, theirs = tensors(outputs.decoder), tensors(project.frozen("frozen"))
    assert ours.keys() == theirs.keys()
    for name in ("standardisation.Fundus.mean", "standardisation.Fundus.std"):
        assert np.abs(ours[name] - theirs[name]).max() < 1e-3 * np.abs(theirs[name]).max(), name
    # Adam makes steps of rounding errors, too.
    assert np.corrcoef(ours["linear.weight"].ravel(), theirs["linear.weight"].ravel())[0, 1] > 0.999
