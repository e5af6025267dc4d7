"""Stages `train` and `predict` from files to files."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score
from world.decoder_data import (
    BINARY,
    image,
    planted,
    predict_settings,
    splits_of,
    train_settings,
    write_cache,
    write_samples,
)
from world.stopping import signalled

from visionfm import artifacts, cli
from visionfm.errors import DataError, UsageError
from visionfm.tasks import train as stage
from visionfm.tasks.predict import predict, subsets
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.train import store_of, train
from visionfm.tasks.vectors import training as loop
from visionfm.tasks.vectors.heads import ClsHead

COUNT = 200
VALUE = {"iop": TargetSpec(type="value", unit="mmHg")}


@pytest.fixture
def task(tmp_path):
    """A binary task on planted features: its folder, caches, tables and hidden values."""
    folder = tmp_path / "results" / "task"
    cls_NVLD, patch_mean_NVD, hidden_N = planted(COUNT)
    files = {"eyes": [write_cache(folder / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}
    images = [[image(n)] for n in range(COUNT)]
    table = write_samples(folder / "samples.parquet", images, splits_of(COUNT), {"sick": (hidden_N > 0) * 1.0}, BINARY)
    return folder, files, table, images, hidden_N


def run(task, settings, table=None, name="decoder"):
    folder, files = task[:2]
    out = folder / f"{name}.safetensors"
    train(table or task[2], files, out, folder / f"{name}.parquet", settings)
    return out


def command_line(task, **changes):
    """`train` into files named d."""
    folder, files, table = task[:3]
    line = ["train", "--train", str(table), "--features", f"eyes={files['eyes'][0]}"]
    line += ["--out", str(folder / "d.safetensors"), "--training-out", str(folder / "d.parquet")]
    return [*line, "--settings", train_settings(**changes).model_dump_json()]


def predictions(task, decoder, settings, samples=None):
    folder, files = task[:2]
    out = folder / f"{decoder.stem}-predictions.parquet"
    predict(decoder, samples or folder / "samples.parquet", files, out, settings)
    return artifacts.read_table(out).to_pandas()


def test_planted_sign_is_learned_and_predicted_per_sample(task):
    decoder = run(task, train_settings())
    found = predictions(task, decoder, predict_settings())
    assert set(found.split) == {"validation", "test"}
    assert len(found) == found.sample_id.nunique() == COUNT * 2 // 5
    assert roc_auc_score(found.truth, found.scores.str[0]) > 0.93
    assert set(found.subset) == {"all"} and set(found.modalities) == {"Fundus"} and set(found.run) == {"seed0"}


def test_planted_value_is_learned_in_its_unit(task):
    folder, _, _, images, hidden_N = task
    splits = splits_of(COUNT)
    labels = [None if n % 7 == 0 else 16 + 3 * value for n, value in enumerate(hidden_N)]
    table = write_samples(folder / "samples.parquet", images, splits, {"iop": labels}, VALUE)
    decoder = run(task, train_settings(VALUE), table)
    found = predictions(task, decoder, predict_settings(VALUE))
    known = found[found.truth.notna()]
    assert r2_score(known.truth, known.value) > 0.8
    assert found.truth.isna().sum() > 0 and set(found.unit) == {"mmHg"} and found.scores.isna().all()


def test_permuted_labels_are_not_learned(task):
    folder, _, _, images, _ = task
    found = []
    for seed in range(6):
        labels = {"sick": np.random.default_rng(seed).permutation(np.arange(COUNT) % 2) * 1.0}
        table = write_samples(folder / "samples.parquet", images, splits_of(COUNT), labels, BINARY)
        scores = predictions(task, run(task, train_settings(seed=seed), table), predict_settings(splits=["test"]))
        found.append(roc_auc_score(scores.truth, scores.scores.str[0]))
    assert 0.4 < np.mean(found) < 0.6


def test_second_run_recalls_both_outputs_without_training(task, monkeypatch):
    decoder = run(task, train_settings())
    before = decoder.read_bytes()
    (task[0] / "decoder.parquet").unlink()
    decoder.unlink()
    monkeypatch.setattr(loop.Training, "run", lambda *_: pytest.fail("trained again"))
    run(task, train_settings(checkpoint_minutes=3))
    assert decoder.read_bytes() == before
    assert (task[0] / "decoder.parquet").is_file()


def test_training_table_has_a_row_an_epoch_and_one_best(task):
    run(task, train_settings(epochs=4))
    rows = artifacts.read_table(task[0] / "decoder.parquet").to_pandas()
    assert rows.epoch.tolist() == [1, 2, 3, 4]
    assert rows.best.sum() == 1
    assert rows.validation_loss[rows.best].item() == rows.validation_loss.min()


@pytest.mark.parametrize("targets", [BINARY, VALUE], ids=["classification", "regression"])
@pytest.mark.parametrize("recipe", ["sound", "published"])
def test_shuffled_test_labels_leave_the_decoder_byte_equal(task, targets, recipe):
    folder, _, _, images, hidden_N = task
    splits = np.array(splits_of(COUNT))
    (name,) = targets
    labels = (hidden_N > 0) * 1.0
    found = []
    for at in range(2):
        table = write_samples(folder / "samples.parquet", images, splits, {name: labels}, targets)
        found.append(run(task, train_settings(targets, recipe=recipe, epochs=3), table, f"run{at}").read_bytes())
        labels = np.where(splits == "test", 1 - labels, labels)
    assert found[0] == found[1]


def test_rows_that_others_add_to_a_cache_retrain_nothing(task, monkeypatch):
    before = run(task, train_settings(epochs=2)).read_bytes()
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT)
    extra = [np.concatenate([rows, rows[:1] + 1]) for rows in (cls_NVLD, patch_mean_NVD)]
    write_cache(task[1]["eyes"][0], *extra)
    monkeypatch.setattr(loop.Training, "run", lambda *_: pytest.fail("trained again"))
    assert run(task, train_settings(epochs=2)).read_bytes() == before


def test_changed_features_train_again(task):
    before = run(task, train_settings(epochs=2)).read_bytes()
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT)
    write_cache(task[1]["eyes"][0], cls_NVLD * 2 + 1e-3 * patch_mean_NVD[:, :, None], patch_mean_NVD)
    assert run(task, train_settings(epochs=2)).read_bytes() != before


def test_order_of_rows_on_disk_changes_nothing(task):
    before = artifacts.read_tensors(run(task, train_settings(epochs=3)))[0]
    table = artifacts.read_table(task[2])
    metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    extra = {name: metadata[name] for name in ("targets", "modalities", "fusion", "unit")}
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    made_by = artifacts.provenance("fuse", {}, {})
    artifacts.write_table(task[2], shuffled, made_by, schema="visionfm/samples/1", extra=extra)
    after = artifacts.read_tensors(run(task, train_settings(epochs=3), name="shuffled"))[0]
    assert all(np.array_equal(before[name], after[name]) for name in before)


# --- stopping -------------------------------------------------------------------------------------------------------


def test_signal_saves_progress_and_the_same_command_ends_in_equal_bytes(task, monkeypatch):
    whole = run(task, train_settings(epochs=8), name="whole").read_bytes()
    (task[0].parent / ".kept" / "task" / "whole.safetensors").unlink()
    with signalled(3, signal.SIGUSR1, monkeypatch):
        run(task, train_settings(epochs=8))
    assert not (task[0] / "decoder.safetensors").exists()
    assert run(task, train_settings(epochs=8)).read_bytes() == whole
    assert not list(task[0].parent.rglob("training-*"))


def test_train_on_the_command_line_ends_with_75_when_stopped(task):
    arguments = [*command_line(task, epochs=100_000, patience=100_000), "--log", str(task[0] / "log")]
    code = "import sys; from visionfm import cli; from visionfm.tasks.vectors import training as t; import os, signal\n"
    code += "note = t.Training._note\n"
    code += "def once(self, epoch, *rest):\n    note(self, epoch, *rest)\n"
    code += "    epoch == 2 and os.kill(os.getpid(), signal.SIGTERM)\n"
    code += "t.Training._note = once\nsys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    assert "after epoch 3" in (task[0] / "log").read_text()
    assert list(task[0].parent.rglob("state.safetensors"))


# --- bad input ------------------------------------------------------------------------------------------------------


def test_nan_in_a_feature_names_the_image_and_writes_nothing(task):
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT)
    cls_NVLD[5, 2, 1, 0] = np.nan
    write_cache(task[1]["eyes"][0], cls_NVLD, patch_mean_NVD)
    with pytest.raises(DataError, match=r"0005\.png"):
        run(task, train_settings())
    assert not (task[0] / "decoder.safetensors").exists()


def test_features_without_any_difference_are_an_error(task):
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT)
    write_cache(task[1]["eyes"][0], np.ones_like(cls_NVLD), np.ones_like(patch_mean_NVD))
    with pytest.raises(DataError, match="are equal"):
        run(task, train_settings())


def test_no_validation_sample_is_an_error_that_says_what_to_do(task):
    folder, _, _, images, hidden_N = task
    table = write_samples(folder / "samples.parquet", images, ["train"] * COUNT, {"sick": (hidden_N > 0) * 1.0}, BINARY)
    with pytest.raises(DataError, match="no validation sample") as error:
        run(task, train_settings(), table)
    assert "split" in str(error.value)


def test_label_outside_its_classes_is_an_error_that_names_the_sample(task):
    folder, _, _, images, hidden_N = task
    labels = (hidden_N > 0) * 1.0
    labels[0] = 7
    table = write_samples(folder / "samples.parquet", images, splits_of(COUNT), {"sick": labels}, BINARY)
    with pytest.raises(DataError, match="s0000"):
        run(task, train_settings(), table)


def test_missing_features_argument_is_a_usage_error(task):
    with pytest.raises(UsageError, match="--features lacks"):
        train(task[2], {"other": task[1]["eyes"]}, task[0] / "d.safetensors", task[0] / "d.parquet", train_settings())


# --- prediction -----------------------------------------------------------------------------------------------------


def test_subsets_are_all_each_alone_and_each_left_out():
    assert list(subsets(["Fundus", "OCT"], "mean")) == ["all", "Fundus", "OCT"]
    assert list(subsets(list("abc"), "attention")) == ["all", "a", "b", "c", "b+c", "a+c", "a+b"]
    assert list(subsets(["Fundus", "OCT"], "pooled")) == ["all"]


@pytest.mark.parametrize("fusion", ["concat", "mean", "attention"])
def test_fused_task_scores_every_subset_where_the_sample_has_it(task, fusion):
    folder, files, _, _, hidden_N = task
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT, width=9, seed=1)
    cls_NVLD[..., 2] += 3 * hidden_N[:, None, None]
    files["scans"] = [write_cache(folder / "scans.cls224.h5", cls_NVLD, patch_mean_NVD)]
    images = [[image(n)] * (n % 4 != 0) + [image(n, "scans", "OCT")] * (1 + n % 2) * (n % 4 != 1) for n in range(COUNT)]
    images = [[dict(entry) for entry in row] for row in images]
    labels = {"sick": (hidden_N > 0) * 1.0}
    table = write_samples(folder / "samples.parquet", images, splits_of(COUNT), labels, BINARY, fusion)
    both = {"modalities": ["Fundus", "OCT"], "fusion": fusion}
    found = predictions(task, run(task, train_settings(**both), table), predict_settings(**both))
    by_subset = {name: rows for name, rows in found.groupby("subset")}
    assert set(by_subset) == {"all", "Fundus", "OCT"}
    assert len(by_subset["all"]) == COUNT * 2 // 5
    assert set(by_subset["all"].modalities) == {"Fundus", "OCT", "Fundus+OCT"}
    assert set(by_subset["OCT"].modalities) == {"OCT"} and len(by_subset["OCT"]) < len(by_subset["all"])
    for name, floor in (("all", 0.9), ("Fundus", 0.8), ("OCT", 0.9)):
        assert roc_auc_score(by_subset[name].truth, by_subset[name].scores.str[0]) > floor


def test_pooled_modalities_are_standardised_each_by_its_own(task):
    folder, files, _, images, hidden_N = task
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT)
    files["scans"] = [write_cache(folder / "scans.cls224.h5", cls_NVLD * 100 + 7, patch_mean_NVD * 100 + 7)]
    images = [row if n % 2 else [image(n, "scans", "OCT")] for n, row in enumerate(images)]
    labels = {"sick": (hidden_N > 0) * 1.0}
    table = write_samples(folder / "samples.parquet", images, splits_of(COUNT), labels, BINARY)
    both = {"modalities": ["Fundus", "OCT"]}
    found = predictions(task, run(task, train_settings(**both), table), predict_settings(**both))
    assert set(found.modalities) == {"Fundus", "OCT"}
    assert roc_auc_score(found.truth, found.scores.str[0]) > 0.93


def test_multilabel_has_a_row_a_class_and_multiclass_a_score_a_class(task):
    folder, _, _, images, hidden_N = task
    targets = {
        "grade": TargetSpec(type="multiclass", classes=["none", "some", "much"]),
        "signs": TargetSpec(type="multilabel", classes=["drusen", "fluid"]),
    }
    grade = np.digitize(hidden_N, [-0.4, 0.4]).astype(float)
    signs = [
        None if n % 9 == 0 else [float(value > 0), None if n % 5 == 0 else float(value < 0)]
        for n, value in enumerate(hidden_N)
    ]
    table = write_samples(
        folder / "samples.parquet", images, splits_of(COUNT), {"grade": grade, "signs": signs}, targets
    )
    found = predictions(task, run(task, train_settings(targets), table), predict_settings(targets, splits=["test"]))
    assert len(found) == 3 * COUNT // 5
    grades = found[found.target == "grade"]
    assert np.stack(grades.scores).shape[1] == 3 and np.stack(grades.scores).sum(1) == pytest.approx(1)
    assert set(found["class"][found.target == "signs"]) == {"drusen", "fluid"}
    fluid = found[(found["class"] == "fluid") & found.truth.notna()]
    assert roc_auc_score(fluid.truth, fluid.scores.str[0]) > 0.9


def test_flips_average_the_four_views(task):
    decoder = run(task, train_settings())
    plain = predictions(task, decoder, predict_settings())
    flips = predictions(task, decoder, predict_settings(tta="flips"))
    assert roc_auc_score(flips.truth, flips.scores.str[0]) >= roc_auc_score(plain.truth, plain.scores.str[0]) - 0.01
    assert not np.allclose(flips.scores.str[0], plain.scores.str[0])


@pytest.mark.parametrize("scalar", [np.float64(0.5), 0.5], ids=["numpy scalar", "float"])
def test_published_decoder_file_predicts_what_its_network_says(task, scalar):
    targets = {"grade": TargetSpec(type="multiclass", classes=list("abc")), **BINARY}
    torch.manual_seed(0)
    head = ClsHead(24, 4)
    torch.nn.init.normal_(head.channel_bn.running_mean)
    state = {f"module.{name}": value for name, value in head.state_dict().items()}
    path = task[0] / "checkpoint_7_linear.pth"
    torch.save({"epoch": 8, "state_dict": state, "optimizer": {}, "best_f1": scalar}, path)
    samples = write_samples(
        task[0] / "published.parquet",
        task[3],
        ["test"] * COUNT,
        {"grade": [None] * COUNT, "sick": [1.0] * COUNT},
        targets,
    )
    found = predictions(task, path, predict_settings(targets), samples.with_name("published.parquet"))
    cls_NVLD = torch.tensor(planted(COUNT)[0][:, 0].reshape(COUNT, -1)).float()
    with torch.no_grad():
        expected = head.eval()(cls_NVLD)
    sick = found[found.target == "sick"]
    assert sick.scores.str[0].to_numpy() == pytest.approx(expected[:, 3].sigmoid().numpy(), abs=1e-5)
    grades = np.stack(found[found.target == "grade"].scores)
    assert grades == pytest.approx(expected[:, :3].softmax(1).numpy(), abs=1e-5)


def test_published_decoder_with_other_outputs_is_refused(task):
    path = task[0] / "checkpoint_7_linear.pth"
    torch.save({"state_dict": ClsHead(24, 13).state_dict()}, path)
    with pytest.raises(DataError, match="outputs do not fit"):
        predictions(task, path, predict_settings())


def test_stages_import_no_torch_when_nothing_changed(task):
    run(task, train_settings(epochs=1), name="d")
    arguments = command_line(task, epochs=1)
    code = "import sys; from visionfm import cli; code = cli.main(sys.argv[1:]);"
    code += " assert 'torch' not in sys.modules; sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and "unchanged" in done.stderr, done.stderr


def test_command_line_reports_a_bad_features_argument(task, capsys):
    arguments = ["train", "--train", str(task[2]), "--features", "eyes", "--out", "x", "--training-out", "y"]
    assert cli.main([*arguments, "--settings", train_settings().model_dump_json()]) == 2


@pytest.mark.parametrize("fusion", ["pooled", "attention"])
def test_rows_held_as_they_are_stored_give_the_same_decoder(task, monkeypatch, fusion):
    folder, _, table, *_ = task
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT)
    half = write_cache(folder / "half.cls224.h5", cls_NVLD, patch_mean_NVD, dtype="float16")
    task, held = (folder, {"eyes": [half]}, table), []
    of = loop.Batches.of.__func__
    monkeypatch.setattr(
        loop.Batches, "of", classmethod(lambda cls, *args, **named: held.append(of(cls, *args, **named)) or held[-1])
    )
    stored = run(task, train_settings(fusion=fusion), name="stored")
    monkeypatch.setattr(stage, "store_of", lambda *args, as_stored=False: store_of(*args))
    whole = run(task, train_settings(fusion=fusion), name="whole")
    assert [batches.streams[0].dtype for batches in held] == [torch.float16] * 2 + [torch.float32] * 2
    one, other = (artifacts.read_tensors(path) for path in (stored, whole))
    assert one[0].keys() == other[0].keys()
    assert all(np.array_equal(one[0][name], other[0][name]) for name in one[0])
    assert one[1]["key"] == other[1]["key"], "a decoder that was made before is still known"
