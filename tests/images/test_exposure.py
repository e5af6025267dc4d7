"""Images that use a small part of their range are noted, and twelve bits in sixteen are read as what they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionfm import artifacts
from visionfm.data.index import index
from visionfm.data.settings import IndexSettings
from visionfm.errors import DataError
from visionfm.images.exposure import remark
from visionfm.images.reading import decode, inspect
from visionfm.images.settings import Reading


def sixteen(path: Path, brightest: int) -> Path:
    """A ramp from 0 to `brightest`, as a 16-bit grey PNG."""
    ramp = np.linspace(0, brightest, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(path)
    return path


def test_twelve_bits_in_sixteen_are_noted_and_read_over_their_range_where_the_config_says_so(tmp_path: Path) -> None:
    path = sixteen(tmp_path / "x.png", 4095)
    dark = decode(path.read_bytes(), Reading(), target_px=None, exact=True, where=path)
    assert (dark.min(), dark.max()) == (0, 16)
    note = inspect(path, Reading()).note
    assert note == "dark for 16 bits: its pixels lie in 0 to 16 of 255; if its camera has 12 bits, say `bits: 12`"
    whole = decode(path.read_bytes(), Reading(bits=12), target_px=None, exact=True, where=path)
    assert (whole.min(), whole.max()) == (0, 255) and inspect(path, Reading(bits=12)).note is None
    ramp = np.asarray(Image.open(path)).astype(int)
    assert (abs(whole[:, :, 0] - ramp * 255 / 4095) <= 0.5).all()


def test_pixels_over_the_bits_of_the_config_are_refused(tmp_path: Path) -> None:
    path = sixteen(tmp_path / "x.png", 4096)
    with pytest.raises(DataError, match="16-bit pixels within `bits`"):
        decode(path.read_bytes(), Reading(bits=12), target_px=None, exact=True, where=path)
    assert inspect(path, Reading(bits=12)).status == "too_bright: PNG, a pixel of 4096, over 4095"


def test_bits_say_nothing_of_eight_bit_images(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path)
    plain, told = (decode(path.read_bytes(), Reading(bits=bits), target_px=None, exact=True, where=path)
                   for bits in (None, 12))  # fmt: skip
    assert (plain == told).all()


@pytest.mark.parametrize(
    ("low", "high", "note"),
    [
        (0, 255, None),
        (40, 200, None),
        (7, 7, "constant: every pixel is 7 of 255"),
        (0, 12, "nearly black: its pixels lie in 0 to 12 of 255"),
        (100, 120, "flat: its pixels lie in 100 to 120 of 255"),
    ],
)
def test_what_a_range_says(low: int, high: int, note: str | None) -> None:
    ramp = np.linspace(low, high, 100 * 100).round().astype(np.uint8).reshape(100, 100, 1)
    assert remark(np.repeat(ramp, 3, axis=2), sixteen_bits=False) == note


def test_a_bright_label_makes_no_image_bright() -> None:
    image = np.zeros((1000, 1000, 3), np.uint8)
    image[::2] = 9
    image[:20, :20] = 255
    assert remark(image, sixteen_bits=False) == "nearly black: its pixels lie in 0 to 9 of 255"


def test_the_index_keeps_the_notes_and_says_them(
    tmp_path: Path, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "d").mkdir()
    sixteen(tmp_path / "d/a.png", 4095)
    sixteen(tmp_path / "d/b.png", 65535)
    Image.new("RGB", (8, 8), (3, 3, 3)).save(tmp_path / "d/c.png")
    out = Path("results/datasets/d/images.parquet")
    with caplog.at_level("WARNING", "visionfm"):
        index(tmp_path / "d", out, IndexSettings(modality="Fundus", layout="table"))
    notes = {row["path"]: row["note"] for row in artifacts.read_table(out).to_pylist()}
    assert notes["b.png"] is None and notes["c.png"] == "constant: every pixel is 3 of 255"
    assert "bits: 12" in notes["a.png"] and "noted: a.png: dark for 16 bits" in caplog.text
    index(tmp_path / "d", out, IndexSettings(modality="Fundus", layout="table", bits=12))
    rows = {row["path"]: row for row in artifacts.read_table(out).to_pylist()}
    assert rows["a.png"]["note"] is None and rows["b.png"]["status"].startswith("too_bright")
