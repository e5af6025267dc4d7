"""Encoders named by a timm model: statistics from timm, its converter's work reported, no network no encoder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from world.encoder_fakes import network, save, tensors

from visionfm import artifacts, load_encoder
from visionfm.encoders import timm_weights
from visionfm.errors import DataError

Import = Callable[..., Path]


@pytest.fixture
def small() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(timm.create_model("test_vit", num_classes=10).state_dict())


def test_a_local_file_takes_statistics_and_licence_from_timm(
    imported: Import, tmp_path: Path, small: dict[str, torch.Tensor]
) -> None:
    save_file(small, tmp_path / "model.safetensors")
    out = imported(tmp_path / "model.safetensors", timm="test_vit.r160_in1k", image_size=160)
    metadata = artifacts.read_metadata(out)
    config = timm.get_pretrained_cfg("test_vit.r160_in1k")
    assert json.loads(metadata["mean"]) == list(config.mean)
    assert json.loads(metadata["source"])["licence"] == config.license
    assert json.loads(metadata["source"])["dialect"] == "timm"
    assert metadata["arch"] == "test_vit"
    assert set(json.loads(metadata["dropped"])) == {"head.weight", "head.bias"}


def test_timms_download_is_imported_like_a_file(
    imported: Import, tmp_path: Path, small: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(small, tmp_path / "model.safetensors")
    asked = []

    def fetch(repository: str, file: str, revision: str | None = None) -> str:
        asked.append((repository, file))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    metadata = artifacts.read_metadata(imported(timm="test_vit.r160_in1k", image_size=160))
    assert asked == [("timm/test_vit.r160_in1k", "model.safetensors")]
    assert json.loads(metadata["source"])["name"] == "test_vit.r160_in1k"
    assert len(json.loads(metadata["source"])["sha256"]) == 64


def test_without_a_network_the_error_says_what_to_do(imported: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        imported(timm="vit_base_patch14_reg4_dinov2.lvd142m")
    assert "weights" in str(caught.value)
    assert "Name or service" in str(caught.value)


@pytest.mark.parametrize("name", ["vit_base_patch16_224.no_such_tag", "vit_nonsense"])
def test_names_that_timm_does_not_know_are_errors(imported: Import, name: str) -> None:
    with pytest.raises(DataError, match="timm"):
        imported(timm=name)


def test_a_model_without_weights_is_not_left_untrained(imported: Import) -> None:
    with pytest.raises(DataError, match="no weights"):
        imported(
            timm="vit_tiny_patch8_dinov3" if timm.is_model("vit_tiny_patch8_dinov3") else "fake_plain", image_size=64
        )


def test_timms_converter_is_used_and_reported_for_namings_of_others(imported: Import, tmp_path: Path) -> None:
    """OpenCLIP wraps a timm network as `visual.trunk`, beside its text tower."""
    state = {f"visual.trunk.{name}": tensor for name, tensor in tensors("fake_siglip").items()}
    state |= {"text.token_embedding.weight": torch.zeros(4, 4), "logit_scale": torch.zeros(1)}
    out = imported(
        save(state, tmp_path / "clip.pth"),
        timm="fake_siglip",
        image_size=64,
        statistics={"mean": [0, 0, 0], "std": [1, 1, 1]},
    )
    metadata = artifacts.read_metadata(out)
    assert json.loads(metadata["renamed"])["visual.trunk.norm.weight"] == "norm.weight"
    assert set(json.loads(metadata["dropped"])) == {"text.token_embedding.weight", "logit_scale"}
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network("fake_siglip").forward_features(image).mean(1)
    torch.testing.assert_close(load_encoder(out).cls_and_mean(image)[1], expected, rtol=1e-4, atol=1e-4)


def test_a_file_of_another_model_does_not_pass_for_the_named_one(
    imported: Import, tmp_path: Path, small: dict[str, torch.Tensor]
) -> None:
    del small["blocks.3.norm1.weight"]
    with pytest.raises(DataError, match=r"blocks\.3\.norm1\.weight is missing"):
        imported(save(small, tmp_path / "w.pth"), timm="test_vit.r160_in1k", image_size=160)
    with pytest.raises(DataError, match="test_vit"):
        imported(save(tensors("fake_plain"), tmp_path / "v.pth"), timm="test_vit", image_size=160)


def test_known_of_gives_what_timm_was_trained_with() -> None:
    known = timm_weights.known_of("vit_base_patch16_siglip_224")
    assert tuple(known["mean"]) == (0.5, 0.5, 0.5)
