"""The encoder's features: those of the published code (golden files), whatever the batch and the form of image."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from world.encoder_fakes import network, prefixed, save, tensors

import visionfm
from visionfm import load_encoder
from visionfm.encoders.file import DENSE_BLOCKS
from visionfm.encoders.vit import Encoder
from visionfm.errors import ArtifactError, DataError

Import = Callable[..., Path]


@pytest.fixture(scope="module")
def golden_encoder(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from visionfm.encoders.importing import import_encoder
    from visionfm.encoders.settings import ImportSettings

    out = tmp_path_factory.mktemp("golden") / "encoder.safetensors"
    import_encoder(ImportSettings(modality="Fundus", weights=str(golden / "visionfm_vit_tiny_teacher.pth")), out)
    return out


@pytest.fixture(scope="module")
def golden_features(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "features_vit_tiny.npz") as file:
        return {name: file[name] for name in file.files}


def images(golden_features: dict[str, np.ndarray], name: str) -> torch.Tensor:
    return torch.from_numpy(golden_features[name]).permute(0, 3, 1, 2).contiguous()


def test_features_at_224_are_the_published_ones(golden_encoder: Path, golden_features: dict[str, np.ndarray]) -> None:
    cls_BLD, mean_BD = load_encoder(golden_encoder).cls_and_mean(images(golden_features, "images_224"))
    np.testing.assert_allclose(cls_BLD.numpy(), golden_features["cls_last4"], atol=1e-4)
    np.testing.assert_allclose(mean_BD.numpy(), golden_features["patch_mean_last"], atol=1e-4)
    assert cls_BLD.dtype == mean_BD.dtype == torch.float32


def test_features_at_512_are_the_published_ones(golden_encoder: Path, golden_features: dict[str, np.ndarray]) -> None:
    encoder = load_encoder(golden_encoder, image_size=512)
    image = images(golden_features, "images_512")
    np.testing.assert_allclose(encoder.cls_and_mean(image)[0].numpy(), golden_features["cls_512_last4"], atol=1e-4)
    patches_BLPD = encoder.patch_tokens(image)
    expected = golden_features["patch_512_blocks_3_5_7_11"].astype(np.float32)
    np.testing.assert_allclose(patches_BLPD.numpy(), expected, atol=2e-3)


def test_the_golden_checkpoint_is_recognised_from_its_shapes(golden_encoder: Path) -> None:
    encoder = load_encoder(golden_encoder)
    assert (encoder.arch, encoder.patch, encoder.dim, encoder.depth) == ("vit_tiny_patch16_224", 16, 192, 12)
    assert (encoder.modality, encoder.image_size, encoder.interpolation) == ("Fundus", 224, "bilinear")


def test_an_images_features_do_not_depend_on_its_batch(golden_encoder: Path) -> None:
    encoder = load_encoder(golden_encoder)
    assert_independent_of_batch(encoder, threads=1)


def assert_independent_of_batch(encoder: Encoder, threads: int) -> None:
    """Compare batches of 8, 3 and 1 bit by bit."""
    torch.set_num_threads(threads)
    pixels = noise(8, encoder.image_size)
    whole = encoder.cls_and_mean(pixels)
    for size in (1, 3):
        parts = [encoder.cls_and_mean(pixels[at : at + size]) for at in range(0, 8, size)]
        assert torch.equal(whole[0], torch.cat([cls for cls, _ in parts]))
        assert torch.equal(whole[1], torch.cat([mean for _, mean in parts]))


@pytest.mark.parametrize("arch", ["fake_plain", "fake_dinov3", "fake_dinov2_giant"])
@pytest.mark.parametrize(("threads", "precision"), [(2, "fp32"), (1, "bf16")])
def test_nor_in_other_families_with_more_threads_or_in_bfloat16(
    imported: Import, arch: str, threads: int, precision: Literal["fp32", "bf16"]
) -> None:
    out = imported("random", arch=arch, image_size=56 if "dinov2" in arch else 64)
    assert_independent_of_batch(load_encoder(out, precision=precision), threads)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["vit_base_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"])
def test_nor_in_networks_of_full_size(imported: Import, arch: str) -> None:
    assert_independent_of_batch(load_encoder(imported("random", arch=arch)), threads=2)


def test_bfloat16_stays_close_to_float32(golden_encoder: Path, golden_features: dict[str, np.ndarray]) -> None:
    pixels = images(golden_features, "images_224")[:2]
    exact = load_encoder(golden_encoder).cls_and_mean(pixels)
    fast = load_encoder(golden_encoder, precision="bf16").cls_and_mean(pixels)
    for one, other in zip(exact, fast, strict=True):
        assert torch.nn.functional.cosine_similarity(one, other, dim=-1).min() >= 0.999
        assert other.dtype == torch.float32
    assert not torch.equal(exact[0], fast[0])


# --- small fakes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small(imported: Import, tmp_path: Path) -> Path:
    path = save({"teacher": prefixed(tensors("fake_plain"), "backbone.")}, tmp_path / "w.pth")
    return imported(path, arch="fake_plain", image_size=64)


def noise(count: int, size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_normalisation_is_that_of_the_metadata(small: Path) -> None:
    encoder = load_encoder(small)
    mean, std = torch.tensor(encoder.mean).view(3, 1, 1), torch.tensor(encoder.std).view(3, 1, 1)
    with torch.inference_mode():
        expected = network("fake_plain").forward_features((noise(2) / 255 - mean) / std)[:, 0]
    torch.testing.assert_close(encoder.cls_and_mean(noise(2))[0][:, -1], expected, rtol=1e-4, atol=1e-4)


def test_patch_tokens_come_in_the_order_asked_for(small: Path) -> None:
    encoder = load_encoder(small)
    tokens_BLPD = encoder.patch_tokens(noise(1), (3, 1))
    assert tokens_BLPD.shape == (1, 2, 16, 64)
    assert torch.equal(tokens_BLPD.flip(1), encoder.patch_tokens(noise(1), (1, 3)))
    torch.testing.assert_close(tokens_BLPD[:, 0].mean(1), encoder.cls_and_mean(noise(1))[1])


def test_blocks_that_are_not_there_are_errors(small: Path) -> None:
    encoder = load_encoder(small)
    for blocks in ((4,), (-1,), ()):
        with pytest.raises(DataError, match="0 to 3"):
            encoder.patch_tokens(noise(1), blocks)
    with pytest.raises(DataError, match="name the blocks"):
        encoder.patch_tokens(noise(1))
    assert DENSE_BLOCKS[24] == (5, 11, 17, 23)


def test_another_image_size_resizes_positions_by_the_load_time_rule(small: Path) -> None:
    from visionfm.encoders.positions import resize_positions

    model = network("fake_plain", grid=6)
    state = tensors("fake_plain")
    state["pos_embed"] = resize_positions(state["pos_embed"], 1, 6)
    model.load_state_dict(state)
    encoder = load_encoder(small, image_size=96)
    mean, std = torch.tensor(encoder.mean).view(3, 1, 1), torch.tensor(encoder.std).view(3, 1, 1)
    with torch.inference_mode():
        expected = model.forward_features((noise(1, 96) / 255 - mean) / std)[:, 0]
    torch.testing.assert_close(encoder.cls_and_mean(noise(1, 96))[0][:, -1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arch", ["fake_dinov3", "fake_dinov2_reg", "fake_siglip"])
def test_other_families_work_at_other_sizes_too(imported: Import, arch: str) -> None:
    patch = 14 if "dinov2" in arch else 16
    out = imported("random", arch=arch, image_size=4 * patch)
    features = load_encoder(out, image_size=6 * patch)(noise(2, 6 * patch))
    assert features.patches_BPD.shape == (2, 36, 64)
    assert bool(features.cls_BLD.isfinite().all())


def test_without_a_cls_token_the_mean_of_the_patches_stands_in_its_place(imported: Import) -> None:
    encoder = load_encoder(imported("random", arch="fake_siglip", image_size=64))
    cls_BLD, mean_BD = encoder.cls_and_mean(noise(2))
    assert cls_BLD.shape == (2, 4, 64)
    assert torch.equal(cls_BLD[:, -1], mean_BD)
    torch.testing.assert_close(cls_BLD, encoder.patch_tokens(noise(2), (0, 1, 2, 3)).mean(2))


def test_a_size_that_does_not_divide_and_a_wrong_shape_are_errors(small: Path) -> None:
    with pytest.raises(DataError, match="48 and 64"):
        load_encoder(small, image_size=50)
    with pytest.raises(DataError, match="64, 64"):
        load_encoder(small).cls_and_mean(noise(1, 32))


def test_a_damaged_encoder_and_another_artefact_are_refused(small: Path, tmp_path: Path) -> None:
    data = bytearray(small.read_bytes())
    data[-5] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError):
        load_encoder(tmp_path / "damaged.safetensors")
    with pytest.raises(ArtifactError):
        load_encoder(tmp_path / "none.safetensors")


def test_an_encoder_is_frozen_and_in_evaluation_mode(small: Path) -> None:
    encoder = load_encoder(small)
    assert isinstance(encoder, Encoder)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.network.training


# --- what users hand over -------------------------------------------------------------------------------------------


def test_paths_pil_arrays_and_tensors_of_one_image_give_equal_features(small: Path, tmp_path: Path) -> None:
    encoder = visionfm.load_encoder(small)
    pixels_HWC = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image = Image.fromarray(pixels_HWC)
    image.save(tmp_path / "a.png")
    tensor_CHW = torch.from_numpy(pixels_HWC).permute(2, 0, 1)
    expected = encoder(tmp_path / "a.png")
    for form in (
        image,
        pixels_HWC,
        tensor_CHW,
        [str(tmp_path / "a.png")],
        pixels_HWC[None],
        tensor_CHW[None],
        (image,),
    ):
        found = encoder(form)
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one, other)
    assert expected.cls_BLD.shape == (1, 4, 64)


def test_many_images_keep_their_order_across_batches(small: Path) -> None:
    encoder = load_encoder(small)
    pixels = noise(35)
    features = encoder(pixels)
    cls_BLD, mean_BD = encoder.cls_and_mean(pixels)
    assert torch.equal(features.cls_BLD, cls_BLD)
    assert torch.equal(features.patch_mean_BD, mean_BD)
    torch.testing.assert_close(features.patches_BPD.mean(1), mean_BD)


def test_float_tensors_are_0_to_1_of_the_encoders_size(small: Path) -> None:
    encoder = load_encoder(small)
    torch.testing.assert_close(encoder(noise(2).float() / 255).cls_BLD, encoder(noise(2)).cls_BLD)
    for wrong in (
        noise(1).float(),
        noise(1, 32).float() / 255,
        noise(1).float() * float("nan"),
        noise(1).float() / 255 - 0.5,
    ):
        with pytest.raises(DataError, match="image 0"):
            encoder(wrong)


def test_grey_and_16_bit_images_are_taken_by_their_meaning(small: Path) -> None:
    encoder = load_encoder(small)
    grey_HW = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    expected = encoder(np.repeat(grey_HW[:, :, None], 3, axis=2)).cls_BLD
    assert torch.equal(encoder(grey_HW).cls_BLD, expected)
    deep = Image.fromarray(grey_HW.astype(np.uint16) * 257)
    assert torch.equal(encoder(deep).cls_BLD, expected)


@pytest.mark.parametrize("bad", [[], 3, [None], np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), "no/such.png"])
def test_what_is_no_image_is_an_error(small: Path, bad: object) -> None:
    with pytest.raises(DataError):
        load_encoder(small)(bad)  # type: ignore[arg-type]
