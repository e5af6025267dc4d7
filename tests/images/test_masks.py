"""Masks are read as the indices they store, turned with their image, and refused when they cannot be such."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.image_files import encoded, tiff

from visionfm.errors import DataError
from visionfm.images.masks import encode_mask, inspect_mask, read_fov, read_mask
from visionfm.images.pixels import oriented

INDICES = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 3, 3]], dtype=np.uint8)
FOUR = [[0], [1], [2], [3]]


def png(array: np.ndarray, mode: str | None = None, **options) -> bytes:
    return encoded(Image.fromarray(array), "PNG", **options)


def palette_png(array: np.ndarray, bits: int = 8) -> bytes:
    image = Image.fromarray(array, "P")
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0, 255, 0, 0] + [0] * 756)  # 0 and 3 share a colour
    return encoded(image, "PNG", bits=bits)


def grey_png_of_bits(array: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 2 or 4 bits, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = array.shape
    rows = b""
    for row in array:
        text = "".join(format(value, f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


FILES = {
    "grey PNG": png(INDICES),
    "palette PNG": palette_png(INDICES),
    "palette PNG of 2 bits": palette_png(INDICES, 2),
    "grey PNG of 2 bits": grey_png_of_bits(INDICES, 2),
    "grey PNG of 4 bits": grey_png_of_bits(INDICES, 4),
    "grey PNG of 16 bits": png(INDICES.astype(np.uint16)),
    "TIFF": tiff(INDICES),
    "TIFF of 16 bits": tiff(INDICES.astype(np.uint16)),
    "BMP": encoded(Image.fromarray(INDICES), "BMP"),
    "GIF": encoded(Image.fromarray(INDICES, "P"), "GIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_lossless_format_gives_the_stored_indices(name: str) -> None:
    assert np.array_equal(read_mask(FILES[name], FOUR), INDICES)
    assert inspect_mask(FILES[name], 1, name) == (4, 3, [0, 1, 2, 3])


def test_pixel_values_map_to_classes_and_several_may_mean_one() -> None:
    data = png(np.array([[0, 255, 128]], np.uint8))
    assert read_mask(data, [[0], [255, 128]]).tolist() == [[0, 1, 1]]
    assert read_mask(data, [[255], [0], [128]]).tolist() == [[1, 0, 2]]


def test_three_channels_that_are_the_same_are_one() -> None:
    data = encoded(Image.fromarray(INDICES).convert("RGB"), "PNG")
    assert np.array_equal(read_mask(data, FOUR), INDICES) and inspect_mask(data, 1, "m") == (4, 3, [0, 1, 2, 3])


def test_one_bit_masks_are_zero_and_one() -> None:
    data = encoded(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"), "PNG")
    assert read_mask(data, [[0], [1]]).tolist() == [[0, 1]]


rgb = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
REFUSED = {
    "a three-channel PNG": (encoded(rgb, "PNG"), "3 channels"),
    "a PNG with alpha": (encoded(rgb.convert("RGBA"), "PNG"), "4 channels"),
    "grey with alpha": (encoded(rgb.convert("LA"), "PNG"), "2 channels"),
    "a JPEG": (encoded(Image.fromarray(INDICES), "JPEG"), "lossy"),
    "a WebP": (encoded(rgb, "WEBP"), "lossy"),
    "a TIFF with white as zero": (tiff(INDICES, photometric=0), "white"),
    "no image": (b"x,y\n1,2\n", "not_an_image"),
    "half a PNG": (png(INDICES)[:40], "truncated"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mask_is_refused_by_name(name: str) -> None:
    data, found = REFUSED[name]
    with pytest.raises(DataError, match=r"m\.png") as caught:
        read_mask(data, FOUR, where="m.png")
    assert found in str(caught.value)


def test_values_outside_the_classes_are_named(tmp_path: Path) -> None:
    file = tmp_path / "m.png"
    file.write_bytes(png(np.array([[0, 254, 255]], np.uint8)))
    with pytest.raises(DataError, match=r"found: 254\n  where: .*m\.png"):
        read_mask(file, [[0], [255]])


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[274] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_follows_its_image_through_the_exif_rotation(orientation: int) -> None:
    upright = oriented(INDICES[:, :, None], orientation)[:, :, 0]
    assert np.array_equal(read_mask(png(INDICES), FOUR, orientation=orientation), upright)


@pytest.mark.parametrize("own", range(2, 9))
def test_a_mask_with_an_orientation_of_its_own_is_turned_by_that(own: int) -> None:
    upright = oriented(INDICES[:, :, None], own)[:, :, 0]
    assert np.array_equal(read_mask(png(INDICES, exif=exif(own)), FOUR, orientation=6), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_written_mask_reads_back_with_its_image(orientation: int) -> None:
    data = encode_mask(INDICES, [[0], [7], [9], [255]], orientation=orientation)
    assert np.array_equal(read_mask(data, [[0], [7], [9], [255]], orientation=orientation), INDICES)
    assert np.asarray(Image.open(io.BytesIO(data))).max() == 255


def test_a_field_of_view_is_everywhere_but_at_zero() -> None:
    assert read_fov(png(np.array([[0, 1, 255]], np.uint8))).tolist() == [[False, True, True]]
