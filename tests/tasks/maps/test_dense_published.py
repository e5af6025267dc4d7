"""A published decoder file of masks predicts through the command line and gives the golden output; so do points."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from world.dense_project import DenseProject, write_encoder

from visionfm import artifacts, cli
from visionfm.artifacts.archive import Archive
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import DataError
from visionfm.features.rows import Names
from visionfm.features.settings import TokenReading
from visionfm.features.token_cache import write_dense
from visionfm.features.tokens import identity_of
from visionfm.tasks import kind_of
from visionfm.tasks.maps.decoder import load_decoder
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTarget

CLASSES = DenseTarget(column="mask", classes=["none", "one", "two"], values=[[0], [7], [255]])
SETTINGS = {"kind": "segmentation", "targets": {"lesion": CLASSES.model_dump()}, "size": 64, "modalities": ["Fundus"]}


@pytest.fixture
def golden(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "golden/decoders.npz"))


def published(path: Path, golden: dict[str, np.ndarray], name: str) -> Path:
    """Write what train_seg_decoder saves: names with `module.`, beside them numbers of numpy."""
    prefix = f"{name}.param."
    state = {f"module.{k.removeprefix(prefix)}": torch.from_numpy(v) for k, v in golden.items() if k.startswith(prefix)}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}, "best_dice": np.float64(0.5)}, path)
    return path


@pytest.mark.parametrize("name", ["unetr", "linear_seg"])
def test_a_published_file_gives_the_golden_output(tmp_path: Path, golden: dict[str, np.ndarray], name: str) -> None:
    settings = DensePredictSettings.model_validate_json(json.dumps(SETTINGS))
    spec, network = load_decoder(published(tmp_path / "checkpoint_3_linear.pth", golden, name), settings)
    with torch.no_grad():
        y = network(torch.from_numpy(golden["unetr.feats"]).transpose(0, 1), torch.from_numpy(golden["unetr.image"]))
    np.testing.assert_allclose(y.numpy(), golden[f"{name}.y"], atol=1e-5)
    assert (spec.outputs, spec.width) == (3, 24)


def small_encoder(path: Path, width: int) -> Path:
    """Write an encoder of which only the header is read, since all its tokens are cached."""
    tensors = {"norm.weight": np.ones(width, np.float32), "blocks.11.norm1.weight": np.ones(width, np.float32)}
    metadata = {"arch": "vit", "image_size": "64", "patch": "16", "modality": "OCT"}
    metadata |= {"mean": "[0.5, 0.5, 0.5]", "std": "[0.2, 0.2, 0.2]", "interpolation": "bilinear", "source": "{}"}
    artifacts.write_tensors(
        path, tensors, artifacts.provenance("import", {}, {}), schema="visionfm/encoder/1", extra=metadata
    )
    return path


def cached(folder: Path, tokens_LPD: np.ndarray) -> tuple[list[str], Path]:
    """Write one image, the tokens that stand for it, and its samples; return the flags that name them."""
    project = DenseProject(folder, small_encoder(folder / "encoder.safetensors", tokens_LPD.shape[2]), count=6)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(project.root / "img/5.png")
    project.rows[5] |= {
        "image_id": hashlib.sha256((project.root / "img/5.png").read_bytes()).hexdigest(),
        "width": 64,
        "height": 64,
        "mask_path": None,
        "mask_id": None,
    }
    project.write_tables()
    settings = DensePredictSettings.model_validate_json(json.dumps(SETTINGS))
    identity = identity_of(read_encoder_file(project.encoder), settings.size, TokenReading(dtype="float32"))
    row = project.rows[5]
    names = Names([row["path"]], [row["image_id"]], ("identity",))
    made_by = artifacts.provenance("dense", {}, {})
    write_dense(project.cache, names, tokens_LPD.shape, [(0, 0, tokens_LPD)], identity, made_by)  # type: ignore[arg-type]
    flags = ["--samples", str(project.table), "--features", f"eyes={project.cache}"]
    return [*flags, "--encoders", f"eyes={project.encoder}", "--roots", f"eyes={project.root}"], project.root


def arguments(decoder: Path, flags: list[str], folder: Path, **changed: Any) -> list[str]:
    settings = json.dumps({**SETTINGS, "splits": ["test"], "probabilities": True, "threads": 1, **changed})
    outs = ["--out", str(folder / "p.parquet"), "--masks-out", str(folder / "masks.zip")]
    outs += ["--probabilities-out", str(folder / "probabilities.zip")]
    return ["predict", "--decoder", str(decoder), *flags, *outs, "--settings", settings]


def probability(archive: Archive, name: str) -> np.ndarray:
    with Image.open(io.BytesIO(archive.read(name))) as image:
        return np.asarray(image).astype(np.float64) / 65535


@pytest.mark.parametrize("name", ["unetr", "linear_seg"])
def test_the_command_line_writes_what_the_published_head_says(
    tmp_path: Path, golden: dict[str, np.ndarray], name: str
) -> None:
    decoder = published(tmp_path / "checkpoint_3_linear.pth", golden, name)
    flags, root = cached(tmp_path, golden["unetr.feats"][:, 0])
    assert cli.main(arguments(decoder, flags, tmp_path)) == 0
    expected = torch.from_numpy(golden[f"{name}.y"])
    if (
        name == "unetr"
    ):  # this head sees the image too, and the golden one is no image file: its own golden test is above
        _, network = load_decoder(decoder, DensePredictSettings.model_validate_json(json.dumps(SETTINGS)))
        pixels = np.asarray(Image.open(root / "img/5.png")).astype(np.float32) / 255
        image = torch.from_numpy((pixels - 0.5) / np.float32(0.2)).permute(2, 0, 1)[None]
        with torch.no_grad():
            expected = network(torch.from_numpy(golden["unetr.feats"]).transpose(0, 1), image)
    maps, masks = Archive(tmp_path / "probabilities.zip"), Archive(tmp_path / "masks.zip")
    assert maps.names == [f"eyes/img/5.{index}.png" for index in range(3)]
    found = np.stack([probability(maps, one) for one in maps.names])
    np.testing.assert_allclose(found, expected.softmax(dim=1)[0].numpy(), atol=2e-5)  # in steps of 1/65535
    with Image.open(io.BytesIO(masks.read("eyes/img/5.png"))) as mask:
        np.testing.assert_array_equal(np.asarray(mask), np.array([0, 7, 255])[expected[0].argmax(dim=0).numpy()])


def test_a_folder_of_photographs_needs_no_samples_no_labels_and_no_config(
    tmp_path: Path, shared: Path, golden: dict[str, np.ndarray]
) -> None:
    encoder = write_encoder(tmp_path / "encoder.safetensors")
    project = DenseProject(tmp_path, encoder, count=2)
    wide = {name: np.random.default_rng(0).normal(size=(3, 768, 1, 1)).astype(np.float32) for name in ["w"]}
    decoder = tmp_path / "checkpoint_1_linear.pth"
    torch.save({"module.conv_seg.weight": torch.from_numpy(wide["w"]), "module.conv_seg.bias": torch.zeros(3)}, decoder)
    flags = ["--images", str(project.root / "img"), "--encoder", str(encoder)]
    assert cli.main(arguments(decoder, flags, tmp_path)) == 0
    rows = artifacts.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["path"] for row in rows] == ["0.png", "1.png"] and rows[0]["mask_path"] is None
    with Image.open(tmp_path / "masks/images/0.png") as mask:
        assert mask.size == (96, 80)


def test_another_decoder_or_other_classes_are_refused(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    settings = DensePredictSettings.model_validate_json(json.dumps(SETTINGS))
    torch.save({"classifier.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="no published decoder of masks or points"):
        load_decoder(tmp_path / "other.pth", settings)
    two = {"lesion": DenseTarget(column="m", classes=["a", "b"], values=[[0], [1]])}
    spec, _ = load_decoder(published(tmp_path / "c.pth", golden, "unetr"), settings.model_copy(update={"targets": two}))

    with pytest.raises(DataError, match="outputs do not fit the classes"):
        kind_of(spec.kind).fit().restored(spec)
