"""The loop: exact resume, early stopping, and what makes it stop with an error."""

import numpy as np
import pytest
import torch
from world.decoder_data import BINARY, named, planted
from world.stopping import AfterSteps

from visionfm import artifacts
from visionfm.errors import DataError, Stopped
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks.classification.fit import Classification
from visionfm.tasks.resume import StateFile
from visionfm.tasks.vectors import feature_arrays as streams_of
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.feature_arrays import Stream
from visionfm.tasks.vectors.recipe import sound
from visionfm.tasks.vectors.spec import Spec
from visionfm.tasks.vectors.training import Batches, Training, outputs_of

PUBLISHED_MULTI = named("classification/recipes/published_multi.yaml")
PUBLISHED_SINGLE = named("classification/recipes/published_single.yaml")
SOUND = sound()
RECIPES = {"sound": SOUND, "adamw": PUBLISHED_SINGLE, "sgd": PUBLISHED_MULTI}


def training(recipe, fusion="pooled", count=70, seed=0):
    cls_NVLD, patch_mean_NVD, hidden_N = planted(count)
    features = np.concatenate([cls_NVLD.reshape(count, 4, -1), patch_mean_NVD], axis=2).astype(np.float32)
    names = ["image"] if fusion == "pooled" else ["Fundus", "OCT"]
    row_N = np.arange(count)
    parts = [Stream(name, features.copy(), np.full(count, name, object), row_N) for name in names]
    streams_of.standardise(parts, streams_of.statistics(parts))
    truth_NT = (hidden_N > 0).astype(float)[:, None]
    batches = Batches.of(parts, [30] * len(names), truth_NT, "cpu")
    kind = Classification(BINARY, recipe, truth_NT, single=True)
    torch.manual_seed(seed)
    network = Decoder(Spec("classification", BINARY, names, fusion, recipe.head, "both", [30] * len(names)))
    return Training(network, batches, batches, kind, recipe, seed)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("fusion", ["pooled", "attention"])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_stopped_run_goes_on_bit_for_bit(recipe, fusion, steps, tmp_path):
    plan = RECIPES[recipe].model_copy(update={"epochs": 9, "batch_size": 16})
    out = tmp_path / "results" / "decoder.safetensors"
    made_by = artifacts.provenance("train", {}, {})
    with reproducible():
        whole = training(plan, fusion)
        whole.run(StopFlag())
        cut = training(plan, fusion)
        with pytest.raises(Stopped):
            cut.run(AfterSteps(steps), StateFile(out, made_by))
        resumed = training(plan, fusion)
        resumed.restore(StateFile(out, made_by).load("cpu"))
        resumed.run(StopFlag())
    assert len(cut.history) == steps // 5
    assert resumed.history == whole.history
    assert same(resumed.best, whole.best)
    assert same(resumed.network.state_dict(), whole.network.state_dict())


def test_state_leaves_nothing_behind_when_it_is_removed(tmp_path):
    out = tmp_path / "results" / "a" / "decoder.safetensors"
    file = StateFile(out, artifacts.provenance("train", {}, {}))
    file.save(training(SOUND).state())
    assert file.path.is_file()
    file.remove()
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


def test_damaged_or_foreign_state_is_not_used(tmp_path):
    out = tmp_path / "results" / "decoder.safetensors"
    file = StateFile(out, artifacts.provenance("train", {}, {}))
    file.save(training(SOUND).state())
    content = bytearray(file.path.read_bytes())
    content[-3] ^= 1
    file.path.write_bytes(content)
    assert file.load("cpu") is None
    assert StateFile(out, artifacts.provenance("train", {"lr": 1}, {})).load("cpu") is None


@pytest.mark.parametrize("fusion", ["pooled", "concat", "mean", "attention"])
def test_number_of_threads_found_does_not_change_the_decoder(fusion):
    plan = SOUND.model_copy(update={"epochs": 2})
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with reproducible():
            run = training(plan, fusion)
            run.run(StopFlag())
        assert torch.get_num_threads() == threads
        found.append(run.best)
    torch.set_num_threads(before)
    assert same(*found)


def test_stops_early_and_keeps_the_best_epoch():
    with reproducible():
        run = training(SOUND.model_copy(update={"lr": 1.0, "patience": 3, "schedule": "constant"}))
        run.validation.truth_NT.copy_(1 - run.train.truth_NT)  # learning makes it worse
        run.run(StopFlag())
    assert len(run.history) == run.best_epoch + 3
    assert run.history[run.best_epoch - 1]["validation_loss"] == min(row["validation_loss"] for row in run.history)


def test_batch_of_one_is_left_out_where_there_is_batch_norm(caplog):
    caplog.set_level("INFO", logger="visionfm")
    with reproducible():
        run = training(PUBLISHED_SINGLE.model_copy(update={"epochs": 1, "batch_size": 23}), count=70)
        run.run(StopFlag())
    assert "last batch of each epoch has one sample" in caplog.text
    assert run.history[0]["train_loss"] > 0


def test_batch_norm_over_single_samples_is_an_error():
    with pytest.raises(DataError, match="one sample at a time"):
        training(PUBLISHED_SINGLE.model_copy(update={"batch_size": 1}))


def test_infinite_loss_names_epoch_and_step():
    with reproducible():
        run = training(SOUND)
        run.train.streams[0][3] = float("inf")
        with pytest.raises(DataError, match="epoch 1, step"):
            run.run(StopFlag())


def test_evaluation_looks_at_the_view_it_is_told():
    run = training(SOUND)
    torch.nn.init.ones_(run.network.head.linear.weight)
    found = [outputs_of(run.network, run.validation, view=view) for view in range(4)]
    assert torch.allclose(found[2], run.train.streams[0][:, 2].sum(1, keepdim=True), atol=1e-4)
    assert not torch.allclose(found[0], found[1])
