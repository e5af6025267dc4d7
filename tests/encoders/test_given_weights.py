"""An encoder named on a command line or in Python is the one that a config with the same words gives."""

import argparse
from pathlib import Path

import pytest
import torch
from world.encoder_fakes import prefixed, save, tensors

from visionfm import artifacts, load_encoder
from visionfm.config.base import Statistics
from visionfm.encoders import given
from visionfm.encoders.file import SCHEMA
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.errors import ArtifactError, DataError, UsageError, VisionFMError

WORDS = {"arch": "fake_plain", "key": "b", "statistics": "imagenet", "interpolation": "bicubic"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save({"a": tensors("fake_plain", 1), "b": tensors("fake_plain", 2)}, tmp_path / "w.pth")


@pytest.fixture
def own(tmp_path: Path, weights: Path) -> Path:
    out = tmp_path / "own" / "encoder.safetensors"
    import_encoder(ImportSettings(modality="OCT", weights=str(weights), **WORDS), out)
    return out


def said(*words: str) -> given.Given:
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", type=Path)
    given.add_arguments(parser)
    return given.from_arguments(parser.parse_args(list(words)))


def test_words_on_the_command_line_are_those_of_a_config(weights: Path, own: Path) -> None:
    flags = [part for name, word in WORDS.items() for part in (f"--{name}", word)]
    with given.encoder_file(said("--encoder", str(weights), "--modality", "oct", *flags)) as encoder:
        assert encoder.read_bytes() == own.read_bytes()
    with given.encoder_file(said("--encoder", str(own))) as encoder:
        assert encoder == own


def test_python_takes_the_same_words(weights: Path, own: Path) -> None:
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    expected = load_encoder(own, image_size=64)
    found = load_encoder(weights, modality="OCT", image_size=64, **WORDS)
    assert (found.mean, found.std, found.interpolation) == (expected.mean, expected.std, "bicubic")
    assert torch.equal(found.cls_and_mean(image)[0], expected.cls_and_mean(image)[0])


def test_another_word_on_an_encoder_changes_that_alone(own: Path) -> None:
    changed = load_encoder(own, statistics=Statistics(mean=[0.5] * 3, std=[0.25] * 3), image_size=64)
    assert (changed.mean, changed.std) == ((0.5,) * 3, (0.25,) * 3)
    assert changed.modality == "OCT"


def test_what_is_missing_is_asked_for_and_nothing_is_called_damaged(weights: Path, tmp_path: Path) -> None:
    for path in (weights, tmp_path / "none.pth"):
        with pytest.raises(VisionFMError) as caught:
            load_encoder(path)
        assert "forget w.pth" not in str(caught.value)
    with pytest.raises(UsageError, match="modality="):
        load_encoder(weights)
    with pytest.raises(DataError, match="weights file is missing"):
        load_encoder(tmp_path / "none.pth")
    with pytest.raises(UsageError, match="--timm NAME"):
        load_encoder()
    with pytest.raises(DataError, match="not guessed"):
        load_encoder(weights, modality="OCT")


@pytest.mark.parametrize("text", ["auto", "0.5", "0.5,0.5/0.5,0.5", "a,b,c/1,1,1", "1,1,1/1,1,1/1,1,1"])
def test_statistics_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="0.5,0.5,0.5/0.5,0.5,0.5"):
        given.statistics_of(text)
    assert given.statistics_of("0.5,0.4,0.3/0.2,0.2,0.2") == Statistics(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])


def test_our_other_artefacts_are_no_encoders(tmp_path: Path) -> None:
    path, made_by = tmp_path / "decoder.safetensors", artifacts.provenance("train", {}, {})
    artifacts.write_tensors(path, {}, made_by, schema="visionfm/decoder/1")
    with pytest.raises(ArtifactError, match="not an encoder"):
        load_encoder(path)


SENSELESS = {
    **{"patch": "0", "image_size": "large", "mean": "[1, 2]", "std": "[0, 0, 0]", "source": "[]", "arch": "no_such"},
    **{"arch ": None, "mean ": "{", "source ": None},
}


@pytest.mark.parametrize("name", SENSELESS)
def test_a_checksum_proves_no_sense(name: str, own: Path, tmp_path: Path) -> None:
    arrays, metadata = artifacts.read_tensors(own)
    names = ("arch", "image_size", "patch", "modality", "mean", "std", "interpolation", "source", "renamed", "dropped")
    extra = {key: metadata[key] for key in names}
    value = SENSELESS[name]
    extra = {key: text for key, text in extra.items() if key != name.strip()} | (
        {name.strip(): value} if value is not None else {}
    )
    path = tmp_path / "senseless.safetensors"
    artifacts.write_tensors(path, arrays, artifacts.provenance("import", {}, {}), schema=SCHEMA, extra=extra)
    with pytest.raises(VisionFMError):
        load_encoder(path)


def test_a_prefix_is_a_key(tmp_path: Path) -> None:
    state = {**prefixed(tensors("fake_plain", 1), "left."), **prefixed(tensors("fake_plain", 2), "right.")}
    path = save(state, tmp_path / "w.pth")
    encoder = load_encoder(path, modality="any", key="right", arch="fake_plain", statistics="imagenet", image_size=64)
    assert torch.equal(encoder.network.cls_token, tensors("fake_plain", 2)["cls_token"])
    assert encoder.source["key"] == "right"
