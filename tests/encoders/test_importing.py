"""The stages `import` and `checksum`: strict, equal bytes for equal input, recalled when nothing changed."""

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from world.encoder_fakes import heads, prefixed, save, tensors

from visionfm import artifacts
from visionfm.cli import main
from visionfm.encoders import checksum, importing
from visionfm.encoders.settings import ImportSettings
from visionfm.errors import ConfigError, DataError, UsageError
from visionfm.modalities import MODALITIES

Import = Callable[..., Path]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state = {**prefixed(tensors("fake_plain"), "backbone."), **heads()}
    return save({"teacher": state, "args": argparse.Namespace(modality="OCT")}, tmp_path / "VFM_Fundus_weights.pth")


def settings(weights: Path | str | None, **others: object) -> ImportSettings:
    chosen = {"modality": "Fundus", "arch": "fake_plain", "image_size": 64, **others}
    return ImportSettings(weights=None if weights is None else str(weights), **chosen)


def test_metadata_says_everything_an_encoder_needs(imported: Import, weights: Path) -> None:
    metadata = artifacts.read_metadata(imported(weights, arch="fake_plain", image_size=64, interpolation="bicubic"))
    assert metadata["schema"] == "visionfm/encoder/1"
    assert {key: metadata[key] for key in ("arch", "image_size", "patch", "modality", "interpolation")} == {
        "arch": "fake_plain",
        "image_size": "64",
        "patch": "16",
        "modality": "Fundus",
        "interpolation": "bicubic",
    }
    assert json.loads(metadata["mean"]) == list(MODALITIES["Fundus"].mean)
    assert json.loads(metadata["std"]) == list(MODALITIES["Fundus"].std)
    assert json.loads(metadata["source"]) == {
        "name": "VFM_Fundus_weights.pth",
        "sha256": checksum.sha256_of(weights),
        "dialect": "visionfm",
        "key": "teacher",
        "licence": "CC BY-NC 4.0",
    }


def test_half_precision_weights_become_float32_of_equal_value(imported: Import, tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        state = {name: tensor.to(dtype) for name, tensor in tensors("fake_plain").items()}
        path = save({"teacher": state}, tmp_path / f"{dtype}.pth")
        arrays, _ = artifacts.read_tensors(imported(path, arch="fake_plain", image_size=64))
        for name, array in arrays.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, state[name].float().numpy())


def test_equal_input_gives_equal_bytes_wherever_the_file_lies(imported: Import, weights: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "deep" / "er" / weights.name
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(weights.read_bytes())
    first = imported(weights, arch="fake_plain", image_size=64).read_bytes()
    assert first == imported(elsewhere, arch="fake_plain", image_size=64).read_bytes()
    assert str(tmp_path).encode() not in first


def test_what_was_renamed_and_dropped_stands_in_the_log(
    imported: Import, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "visionfm")
    imported(weights, arch="fake_plain", image_size=64)
    assert f"renamed {len(tensors('fake_plain'))}" in caplog.text
    assert "head.last_layer.weight_g" in caplog.text
    assert "the weights say they were trained on OCT" in caplog.text


def test_an_unchanged_import_is_recalled_before_torch_is_imported(weights: Path, tmp_path: Path) -> None:
    out, sidecar = tmp_path / "results" / "e" / "encoder.safetensors", tmp_path / "weights.json"
    checksum.write_checksum(weights, sidecar)
    importing.import_encoder(settings(weights), out, weights_sum=sidecar)
    before = out.read_bytes()
    out.unlink()
    script = (
        "import sys, argparse, pathlib\nfrom visionfm.encoders import importing\n"
        f"importing.main(argparse.Namespace(settings={settings('gone.pth').model_dump_json()!r},"
        f" out=pathlib.Path({str(out)!r}), weights_sum=pathlib.Path({str(sidecar)!r}), statistics=None))\n"
        "assert not {'torch', 'timm', 'pandas'} & set(sys.modules), 'torch imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert out.read_bytes() == before


def test_importing_visionfm_and_the_stage_modules_imports_no_torch() -> None:
    script = (
        "import sys, visionfm, visionfm.encoders.importing, visionfm.encoders.checksum\n"
        "assert not {'torch', 'timm', 'pandas'} & set(sys.modules)\n"
        "assert callable(visionfm.load_encoder) and 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_changed_settings_import_again(imported: Import, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.safetensors"
    importing.import_encoder(settings(weights), out)
    importing.import_encoder(settings(weights, statistics="imagenet"), out)
    assert json.loads(artifacts.read_metadata(out)["mean"])[0] == 0.485


def test_weights_that_differ_from_their_checksum_are_refused_unread(weights: Path, tmp_path: Path) -> None:
    out, sidecar = tmp_path / "encoder.safetensors", tmp_path / "weights.json"
    checksum.write_checksum(weights, sidecar)
    weights.write_bytes(b"something else")
    with pytest.raises(DataError, match="sha256"):
        importing.import_encoder(settings(weights), out, weights_sum=sidecar)
    assert not out.exists()


def test_missing_weights_point_to_the_command_that_says_where_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in (
        lambda: importing.import_encoder(settings(tmp_path / "none.pth"), tmp_path / "e.safetensors"),
        lambda: checksum.write_checksum(tmp_path / "none.pth", tmp_path / "weights.json"),
        lambda: checksum.write_checksum(tmp_path, tmp_path / "weights.json"),
    ):
        with pytest.raises(DataError, match="`visionfm encoders`"):
            call()
    assert main(["encoders"]) == 0
    assert "ABILab-CUHK/VisionFM" in capsys.readouterr().out


def test_an_encoder_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        importing.import_encoder(settings(None), tmp_path / "e.safetensors")


def test_the_checksum_holds_no_path(weights: Path, tmp_path: Path) -> None:
    args = argparse.Namespace(weights=weights, out=tmp_path / "weights.json")
    checksum.main(args)
    content = artifacts.read_json(args.out)
    assert content == {"sha256": checksum.sha256_of(weights), "name": weights.name, "bytes": weights.stat().st_size}
    assert str(tmp_path) not in args.out.read_text()


# --- untrained ------------------------------------------------------------------------------------------------------


def test_an_untrained_encoder_is_drawn_from_its_seed_alone(imported: Import) -> None:
    draw = {"weights": "random", "arch": "fake_plain", "image_size": 64}
    first = imported(**draw, seed=1)
    torch.rand(3)
    assert first.read_bytes() == imported(**draw, seed=1).read_bytes()
    assert first.read_bytes() != imported(**draw, seed=2).read_bytes()
    metadata = artifacts.read_metadata(first)
    assert json.loads(metadata["source"])["name"] == "random"
    assert metadata["seed"] == "1"


def test_drawing_leaves_the_callers_generator_alone(imported: Import) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    imported("random", arch="fake_plain", image_size=64)
    assert torch.equal(torch.rand(4), expected)


def test_an_untrained_encoder_needs_an_architecture(imported: Import) -> None:
    with pytest.raises(DataError, match="arch"):
        imported("random", image_size=64)


# --- statistics -----------------------------------------------------------------------------------------------------


def test_statistics_by_choice(imported: Import, weights: Path) -> None:
    def mean(**others: object) -> list[float]:
        out = imported(weights, arch="fake_plain", image_size=64, **others)
        return list(json.loads(artifacts.read_metadata(out)["mean"]))

    assert mean(modality="OCT") == list(MODALITIES["OCT"].mean)
    assert mean(statistics="imagenet")[0] == 0.485
    assert mean(statistics={"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}) == [0.1, 0.2, 0.3]
    added = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    assert mean(modality="OCTA", modality_statistics=added) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("statistics", ["weights", "modality"])
def test_any_modality_has_no_statistics_of_its_own(imported: Import, weights: Path, statistics: str) -> None:
    with pytest.raises(ConfigError, match="any modality"):
        imported(weights, arch="fake_plain", image_size=64, modality="any", statistics=statistics)


def test_a_size_that_does_not_divide_names_the_nearest(imported: Import) -> None:
    with pytest.raises(DataError, match="504 and 518"):
        imported("random", arch="fake_dinov2", image_size=512)
