"""Right pixels from every kind of image that is read, at full and at reduced scale, and the facts noted of each."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.checkout import SHARED
from world.image_files import RAMP, WHOLE, decode, encoded, inspect, picture, png, reason, tiff

from visionfm.errors import DataError
from visionfm.images import reading as images
from visionfm.images import whole as whole_files
from visionfm.images.settings import Reading
from visionfm.images.transforms import resize_square

# Pixels


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(Image.fromarray(RAMP), "PNG"), id="png"),
        pytest.param(encoded(Image.fromarray(RAMP), "TIFF"), id="tiff"),
        pytest.param(encoded(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"), id="tiff-lzw"),
        pytest.param(tiff(RAMP, order=">"), id="tiff-big-endian"),
        pytest.param(tiff(RAMP, order=">", deflate=True), id="tiff-big-endian-deflate"),
    ],
)
def test_a_16_bit_grey_ramp_keeps_its_256_levels(data):
    grey = decode(data)
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - RAMP / 257).max() <= 0.5
    assert len(np.unique(grey)) == 256


def test_grey_tiff_with_white_as_zero_is_turned_round():
    assert np.abs(decode(tiff(RAMP, photometric=0))[..., 0] - (255 - RAMP / 257)).max() <= 0.5


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_rgb_tiff_keeps_its_high_byte(order, deflate):
    colours = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)
    assert np.abs(decode(tiff(colours, order=order, deflate=deflate)) - colours / 257).max() <= 1


def test_16_bit_rgb_png_keeps_its_high_byte():
    colours = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)
    assert np.abs(decode(png(colours, bits=16, colour=2)) - colours / 257).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), id="float"),
        pytest.param(encoded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), id="int32"),
        pytest.param(tiff(RAMP, sample_format=2), id="int16"),
        pytest.param(tiff(RAMP, sample_format=3), id="float16"),
        pytest.param(tiff(RAMP.astype(np.float64).view(np.uint64), sample_format=3), id="float64"),
        pytest.param(tiff(np.zeros((4, 4, 3), np.uint8), photometric=8), id="lab"),
    ],
)
def test_pixels_without_a_certain_meaning_as_eight_bits_are_unsupported(data, tmp_path):
    assert reason(inspect(data, tmp_path)) == "unsupported_mode"
    with pytest.raises(DataError, match="unsupported_mode"):
        decode(data)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(name, orientation, tmp_path):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation: the Transpose that stores an upright image so
    stored = picture().transpose(Image.Transpose(undo[orientation])) if orientation > 1 else picture()
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(name, {})
    data = encoded(stored, name, exif=exif, **options)
    facts = inspect(data, tmp_path)
    assert (facts.status, facts.width, facts.height) == ("ok", 61, 40)
    assert np.abs(decode(data).astype(int) - np.asarray(picture()).astype(int)).mean() < 2


def test_alpha_is_composited_on_black_and_hidden_colour_stays_hidden():
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[:2, :, 3], rgba[2:, :, 3] = 0, 128
    for name in ("PNG", "TIFF"):
        pixels = decode(encoded(Image.fromarray(rgba), name))
        assert (pixels[:2] == 0).all() and (np.abs(pixels[2:].astype(int) - 100) <= 1).all()
    grey = Image.fromarray(np.ascontiguousarray(rgba[..., 2:]))
    assert grey.mode == "LA"
    assert (decode(encoded(grey, "PNG"))[:2] == 0).all()


def test_one_transparent_colour_becomes_black():
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    palette = palette.convert("P")
    palette.putpalette([250, 10, 10, 20, 240, 20])
    for name in ("PNG", "GIF"):
        pixels = decode(encoded(palette, name, transparency=0))
        assert pixels[0, 0].tolist() == [0, 0, 0] and pixels[0, 1].tolist() == [20, 240, 20]
    assert decode(encoded(Image.fromarray(RAMP), "PNG", transparency=65535))[255, 255].tolist() == [0, 0, 0]


def test_palette_one_bit_and_grey_become_rgb():
    palette = picture().quantize(64)
    assert np.array_equal(decode(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    bits = picture().convert("1")
    for name in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode(encoded(bits, name)), np.asarray(bits.convert("RGB")))
    grey = picture().convert("L")
    assert np.array_equal(decode(encoded(grey, "PNG"))[..., 1], np.asarray(grey))


@pytest.mark.parametrize("kind", ["cmyk-jpeg", "ycck-jpeg", "cmyk-tiff"])
def test_cmyk_and_ycck_become_rgb(kind):
    expected = np.asarray(picture()).astype(int)
    cmyk = np.asarray(picture().convert("CMYK"))
    if kind == "ycck-jpeg":  # Y, Cb, Cr of C, M, Y taken for R, G, B, and K inverted, as Adobe stores it
        ycc = np.asarray(Image.fromarray(np.ascontiguousarray(cmyk[..., :3])).convert("YCbCr"))
        stored = np.concatenate([255 - ycc, cmyk[..., 3:]], axis=-1)  # Pillow inverts what it writes
        data = encoded(Image.frombytes("CMYK", (61, 40), stored.tobytes()), "JPEG", quality=95)
        at = data.index(b"Adobe") + 11
        assert data[at] == 0
        data = data[:at] + b"\x02" + data[at + 1 :]
    else:
        image = Image.frombytes("CMYK", (61, 40), cmyk.tobytes())
        data = encoded(image, "JPEG", quality=95) if kind == "cmyk-jpeg" else encoded(image, "TIFF")
    pixels = decode(data).astype(int)
    assert np.abs(pixels - expected).mean() <= 6


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (400, 20)])
def test_extreme_shapes_decode_and_resize(size):
    for name in ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP"):
        pixels = decode(encoded(Image.new("RGB", size, (9, 9, 9)), name), target_px=32, exact=False)
        assert resize_square(pixels, 32, "bilinear").shape == (32, 32, 3)


# Facts, speed path, determinism


def test_facts_come_from_one_read(tmp_path, monkeypatch):
    reads = []
    whole = whole_files.read_regular
    monkeypatch.setattr(whole_files, "read_regular", lambda *given: reads.append(given) or whole(*given))
    facts = inspect(WHOLE["JPEG"], tmp_path)
    assert len(reads) == 1
    assert (facts.width, facts.height, facts.mode, facts.frames) == (61, 40, "RGB", 1)
    assert facts.bytes == len(WHOLE["JPEG"]) and len(facts.image_id) == 64


def test_a_large_jpeg_is_decoded_smaller_but_never_near_the_target():
    data = encoded(picture(1600, 1200), "JPEG", quality=92)
    assert decode(data, target_px=224, exact=True).shape == (1200, 1600, 3)
    assert decode(data, target_px=None, exact=False).shape == (1200, 1600, 3)
    for target in (64, 96, 224, 384, 800, 1200):
        fast = decode(data, target_px=target, exact=False)
        assert min(fast.shape[:2]) >= min(1200, images.SHRINK_MARGIN * target)
        resized = [resize_square(pixels, target, "bilinear").astype(int) for pixels in (fast, decode(data))]
        assert np.abs(resized[0] - resized[1]).mean() < 1
    assert decode(data, target_px=96, exact=False).shape == (150, 200, 3)
    other = encoded(picture(1600, 1200), "PNG")
    assert decode(other, target_px=96, exact=False).shape == (1200, 1600, 3)


def test_a_truncated_large_jpeg_is_noticed_at_reduced_scale_too():
    data = encoded(picture(1600, 1200), "JPEG", quality=92)
    for cut in (0.3, 0.7, 0.99):
        with pytest.raises(DataError, match="truncated"):
            decode(data[: int(cut * len(data))], target_px=64, exact=False)


def _decode_fast(data):
    return decode(data, target_px=16, exact=False)


def test_equal_bytes_give_equal_arrays_in_any_worker():
    files = list(WHOLE.values())
    here = [_decode_fast(data) for data in files]
    with ProcessPoolExecutor(2) as processes, ThreadPoolExecutor(4) as threads:
        for workers in (processes, threads):
            assert all(np.array_equal(a, b) for a, b in zip(here, workers.map(_decode_fast, files), strict=True))
    assert all(array.flags.writeable and array.flags.c_contiguous and array.dtype == np.uint8 for array in here)


def test_real_photographs_decode_as_pillow_decodes_them():
    folder = SHARED / "data" / "idrid" / "images" / "train"
    if not folder.is_dir():
        pytest.skip("the real images (../shared/data/idrid) are not here")
    for path in sorted(folder.iterdir())[:5]:
        assert images.inspect(path, Reading()).status == "ok"
        with Image.open(path) as image:
            assert np.array_equal(decode(path.read_bytes()), np.asarray(image.convert("RGB")))


def test_decoding_imports_no_torch():
    code = "import sys, visionfm.images.reading, visionfm.images.transforms; sys.exit('torch' in sys.modules)"
    path = str(Path(images.__file__).resolve().parents[2])
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}).returncode == 0
