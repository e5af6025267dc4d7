"""Continued from given weights, without a teacher that moves: what moves, what is learned, and what comes out."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from world.small_training import Small

from visionfm import artifacts
from visionfm.cli import main
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.encoders.vit import load_encoder
from visionfm.errors import DataError
from visionfm.pretraining.crops import CropBatch
from visionfm.pretraining.processes import Group
from visionfm.pretraining.schedules import Values
from visionfm.pretraining.starting import start
from visionfm.pretraining.token_reconstruction import TokenReconstruction
from visionfm.report.sections.pretraining import _panels
from visionfm.runtime.processes import Process

RECIPES = ("token_reconstruction", "instances")


def trained(small: Small, name: str, **fields: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Tensors of the given weights and of what was made of them."""
    assert small.run(small.settings(name, **fields)) == 0
    return artifacts.read_tensors(small.weights())[0], artifacts.read_tensors(small.out)[0]


@pytest.mark.parametrize("name", RECIPES)
def test_with_adapters_the_attention_alone_moves_and_they_are_merged(name: str, tmp_path: Path) -> None:
    given, found = trained(Small(tmp_path), name, epochs=1, lora={"rank": 2})
    moved = {tensor for tensor in found if not np.array_equal(found[tensor], given[tensor])}
    assert set(found) == set(given)
    assert moved and all(".attn." in tensor and tensor.endswith(".weight") for tensor in moved)


@pytest.mark.parametrize("name", RECIPES)
def test_published_adapters_are_merged_and_the_file_is_read_again(name: str, tmp_path: Path) -> None:
    small = Small(tmp_path)
    trained(small, name, epochs=1, lora={"rank": 2, "alpha": 3.0})
    file, again = tmp_path / "published.pth", tmp_path / "again.safetensors"
    assert main(["publish", str(small.out.parent), "--out", str(file)]) == 0
    assert set(torch.load(file, weights_only=True)) == {"student", "epoch"}
    import_encoder(ImportSettings(modality="Fundus", weights=str(file), arch="test_vit", image_size=48), again)
    images = [small.root / "000.png"]
    assert torch.equal(load_encoder(again)(images).cls_BLD, load_encoder(small.out)(images).cls_BLD)


def test_images_are_told_apart_better_and_better(tmp_path: Path) -> None:
    small = Small(tmp_path, images=8)
    alike = {"jitter": 0.0, "flip": 0.0, "blur": [0.0, 0.0], "global_scale": [0.9, 1.0]}
    trained(small, "instances", epochs=25, lr=0.06, head_lr=1.0, layer_decay=1.0, augment=alike)
    curves = pq.read_table(small.curves).to_pydict()
    assert "momentum" not in curves
    assert np.mean(curves["recognised"][-5:]) > 0.6 > np.mean(curves["recognised"][:5])
    titles = [panel.title for panel in _panels(pq.read_table(small.curves).to_pandas())]
    assert titles == ["Losses", "Effective rank of the features", "Images recognised among all"]


def test_an_undisturbed_image_has_the_tokens_of_the_given_weights(tmp_path: Path) -> None:
    """Noise and hidden patches are all that there is to repair: without them there is no loss at first."""
    torch.manual_seed(0)
    settings = Small(tmp_path, images=8).settings("token_reconstruction", noise=0.0)
    begun = start(settings, 8)
    step = TokenReconstruction(begun.pair, settings.recipe, Group(Process(0, 1, 0), torch.device("cpu")))
    pixels_CBchw, at_B = torch.randn(1, 2, 3, 48, 48), [0, 1]
    whole = CropBatch(pixels_CBchw, None, torch.zeros(1, 2, 3, 3, dtype=torch.bool), at_B)
    hidden = whole._replace(masks_CBPP=torch.ones(1, 2, 3, 3, dtype=torch.bool))
    losses = [step.learn([crops], 0, Values(0.1, 0.0), 2, list).means["loss"] for crops in (whole, hidden)]
    assert losses[0] < 1e-6 < losses[1]
    before = {name: value.clone() for name, value in begun.pair.teacher.state_dict().items()}
    step.update(Values(0.1, 0.0))
    assert all(torch.equal(value, before[name]) for name, value in begun.pair.teacher.state_dict().items())


def test_there_is_nothing_to_continue_from_weights_that_are_no_plain_network(tmp_path: Path) -> None:
    small = Small(tmp_path, images=8)
    settings = small.settings("instances")
    settings = settings.model_copy(update={"init": str(small.images)})
    with pytest.raises(DataError):
        start(settings, 8)
