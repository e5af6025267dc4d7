"""One reader tells what an encoder file says of itself: its shape, its blocks, and the statistics of a modality."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from world.mixed_encoder import OCT, write_mix
from world.small_project import DEPTH, WIDTH, write_encoder

import visionfm
from visionfm import artifacts
from visionfm.encoders.file import EncoderFile, read_encoder_file
from visionfm.errors import ArtifactError, DataError, VisionFMError


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("plain") / "encoder.safetensors")


@pytest.fixture(scope="module")
def mix(plain: Path) -> EncoderFile:
    return read_encoder_file(write_mix(plain, plain.with_name("mix.safetensors")))


def test_its_shape_and_blocks_are_those_of_the_header(plain: Path) -> None:
    file = read_encoder_file(plain)
    assert (file.width, file.depth, file.patch, file.image_size) == (WIDTH, DEPTH, 16, 32)
    assert file.vector_blocks == (8, 9, 10, 11) and file.token_blocks == (3, 5, 7, 11)
    assert file.sha256 == artifacts.payload_digest(plain) and file.source["name"] == "random"


def test_weights_of_others_are_asked_for_their_modality_and_never_called_damaged(tmp_path: Path) -> None:
    """What a user of Python sees who gives a downloaded file."""
    (tmp_path / "weights.pth").write_bytes(b"of another project")
    with pytest.raises(VisionFMError, match="weights do not say what their images show") as error:
        visionfm.load_encoder(str(tmp_path / "weights.pth"))
    assert "forget" not in str(error.value) and "visionfm import" in str(error.value)


def test_an_encoder_with_one_pair_of_statistics_normalises_every_modality_by_it(plain: Path) -> None:
    file = read_encoder_file(plain)
    assert file.statistics() == file.statistics("OCT") == ((0.4, 0.3, 0.2), (0.3, 0.2, 0.1))
    assert not file.is_mix and file.seen_as("OCT") == "" and list(file.by_modality) == ["Fundus"]


def test_an_encoder_of_several_is_asked_for_a_modality_that_it_knows(mix: EncoderFile) -> None:
    assert mix.is_mix and mix.modality == "any"
    assert mix.statistics("OCT") == (tuple(OCT["mean"]), tuple(OCT["std"]))
    assert mix.statistics("Fundus").mean == (0.4, 0.3, 0.2) and mix.seen_as("Fundus") == "-Fundus"
    for unknown in (None, "MRI"):
        with pytest.raises(DataError, match="Fundus, OCT"):
            mix.statistics(unknown)


def test_depths_without_a_rule_are_named(plain: Path, tmp_path: Path) -> None:
    tensors, metadata = artifacts.read_tensors(plain)
    few = {name: value for name, value in tensors.items() if not name.startswith(("blocks.1", "blocks.2", "blocks.3"))}
    shallow = {name: value for name, value in few.items() if not name.startswith("blocks.") or ".0." in name}
    kept = ("arch", "patch", "image_size", "interpolation", "modality", "mean", "std", "source")
    extra = {name: metadata[name] for name in kept}
    out = tmp_path / "encoder.safetensors"
    artifacts.write_tensors(
        out, shallow, artifacts.provenance("import", {}, {}), schema="visionfm/encoder/1", extra=extra
    )
    file = read_encoder_file(out)
    assert file.depth == 1
    with pytest.raises(DataError, match="at least 4 blocks"):
        _ = file.vector_blocks
    with pytest.raises(DataError, match="depth 12 or 24"):
        _ = file.token_blocks


def test_another_artefact_is_no_encoder(tmp_path: Path) -> None:
    out = tmp_path / "decoder.safetensors"
    artifacts.write_tensors(
        out, {"norm.weight": np.ones(3, np.float32)}, artifacts.provenance("train", {}, {}), schema="visionfm/decoder/1"
    )
    with pytest.raises(ArtifactError, match="not an encoder"):
        read_encoder_file(out)


def test_it_is_read_without_torch(plain: Path) -> None:
    code = (
        "import sys; from visionfm.encoders.file import read_encoder_file\n"
        f"read_encoder_file({str(plain)!r}).token_blocks\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
