"""Each kind of file that cannot be used gets its reason: damage, bombs, foreign formats, several images in one file."""

import errno
import os
import re
import struct
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from world.counts import times
from world.image_files import WHOLE, decode, encoded, huge, inspect, picture, reason, several, tiff

from visionfm.errors import CannotReadNow, DataError
from visionfm.images import reading as images
from visionfm.images import whole as whole_files
from visionfm.images.containers import CONTAINERS, gif_webp, jpeg_png_bmp, pillow
from visionfm.images.containers import tiff as tiffs
from visionfm.images.settings import Reading

MARKS = [b"", jpeg_png_bmp.JPEG_MARK, jpeg_png_bmp.PNG_MARK, jpeg_png_bmp.BMP_MARK, tiffs.MARKS[0], tiffs.MARKS[2]]
MARKS += [gif_webp.GIF_MARKS[0], b"RIFF0000WEBP"]
FUZZ = settings(max_examples=times(500, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Damage


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of cut metadata
@pytest.mark.parametrize("name", WHOLE)
@FUZZ
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_called_truncated(name, cut, tmp_path):
    data = WHOLE[name][: max(12, int(cut * len(WHOLE[name])))]
    facts = inspect(data, tmp_path)
    assert facts.status == "ok" or reason(facts) == "truncated"
    if facts.status == "ok":  # nothing but a tail without pixels was lost
        assert np.array_equal(decode(data), decode(WHOLE[name]))
    else:
        with pytest.raises(DataError, match="truncated"):
            decode(data)


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("name", WHOLE)
def test_a_half_copied_file_filled_with_zeros_is_refused_or_noted(name, kept, tmp_path):
    noise = np.random.default_rng(3).integers(1, 256, (96, 128, 3), dtype=np.uint8)
    options = {"progressive": {"progressive": True}, "TIFF-LZW": {"compression": "tiff_lzw"}}
    options["TIFF-JPEG"] = {"compression": "jpeg"}
    written_as = {"progressive": "JPEG", "PNM": "PPM", "JPEG 2000": "JPEG2000"}  # by Pillow
    kind = written_as.get(name, name.split("-")[0])
    whole = encoded(Image.fromarray(noise), kind, **options.get(name, {}))
    facts = inspect(whole, tmp_path)
    assert facts.status == "ok" and facts.note is None
    cut = int(kept * len(whole))
    facts = inspect(whole[:cut] + bytes(len(whole) - cut), tmp_path)
    if name in ("JPEG", "progressive", "PNG"):
        assert reason(facts) == "truncated"
    assert facts.status != "ok" or "cut short" in (facts.note or "")


def test_every_chunk_of_a_png_is_checked_and_bytes_after_its_end_do_not_matter(tmp_path):
    whole = encoded(picture(), "PNG", pnginfo=None, dpi=(72, 72))
    assert inspect(whole + bytes(100), tmp_path).status == "ok"
    for at in range(8 + 4 + 4 + 13 + 4, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        assert inspect(bytes(damaged), tmp_path).status != "ok", at


def test_a_jpeg_padded_with_zeros_after_its_end_is_whole(tmp_path):
    assert inspect(WHOLE["JPEG"] + bytes(4096), tmp_path).status == "ok"


@pytest.mark.parametrize("name", WHOLE)
@FUZZ
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=8))
def test_flipped_bits_give_pixels_or_a_reason_and_both_functions_agree(name, flips, tmp_path):
    data = bytearray(WHOLE[name])
    for where, bit in flips:
        data[int(where * len(data))] ^= 1 << bit
    agree(bytes(data), tmp_path)


@settings(FUZZ, max_examples=200)
@given(mark=st.sampled_from(MARKS), noise=st.binary(max_size=400))
def test_random_bytes_give_a_reason(mark, noise, tmp_path):
    agree(mark + noise, tmp_path)


def agree(data, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of corrupt metadata
        facts = inspect(data, folder, max_megapixels=1)
        if facts.status == "ok":
            assert decode(data, max_megapixels=1).shape == (facts.height, facts.width, 3)
        else:
            reason(facts)
            assert not re.search(r"0x[0-9a-f]{6}", facts.status) and str(folder) not in facts.status
            with pytest.raises(DataError):
                decode(data, max_megapixels=1)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.EIO, errno.ESTALE])
def test_an_error_of_the_system_says_nothing_of_the_image(number, tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(WHOLE["PNG"])

    def failing(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(whole_files, "read_regular", failing)
    for act in (lambda: images.inspect(file, Reading()), lambda: images.checked_bytes(tmp_path, "a.png", "0" * 64)):
        with pytest.raises(CannotReadNow, match="try again") as said:
            act()
        assert "index" not in str(said.value)


def test_an_image_that_became_a_fifo_or_a_file_of_the_kernel_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="FIFO"):
        images.checked_bytes(tmp_path, "a.png", "0" * 64)
    for path in ("/proc/kmsg", "/proc/self/mem"):
        link = tmp_path / f"{Path(path).name}.png"
        link.symlink_to(path)
        assert images.inspect(link, Reading()).status != "ok"


def test_a_decoder_without_memory_says_nothing_of_the_image(monkeypatch, tmp_path):
    def failing(*_):
        raise MemoryError

    monkeypatch.setattr(pillow.PillowImage, "decode", failing)
    with pytest.raises(CannotReadNow, match="try again"):
        inspect(WHOLE["PNG"], tmp_path)


def test_an_error_names_expected_found_where_and_what_to_do():
    with pytest.raises(DataError) as caught:
        decode(WHOLE["JPEG"][:500])
    text = str(caught.value)
    assert all(part in text for part in ("expected: ", "found: truncated", "where: scan.png", "what to do: copy"))


def test_what_is_no_regular_file_is_a_reason_and_never_a_hang(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("gone.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "fifo.png")
    found = {
        name: reason(images.inspect(tmp_path / f"{name}.png", Reading()))
        for name in ("folder", "link", "loop", "empty", "fifo", "absent")
    }
    assert found == {"folder": "empty", "link": "broken_link", "loop": "broken_link", "empty": "empty",
                     "fifo": "not_a_file", "absent": "missing"}  # fmt: skip
    assert reason(images.inspect(Path(os.devnull), Reading())) == "not_a_file"


@pytest.mark.parametrize("head", [b"%PDF-1.7", b"%!PS-Adobe", b"\0\0\0\x18ftypheic", b"<svg xmlns=", b"plain text"])
def test_other_formats_are_refused_by_content_whatever_the_suffix(head, tmp_path):
    assert reason(inspect(head + bytes(200), tmp_path)) == "not_an_image"


# Size


def test_huge_headers_are_refused_in_a_moment_with_little_memory(tmp_path):
    for name in ("PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG"):
        (tmp_path / name).write_bytes(huge(name))
    code = """if True:
        import resource, sys, time
        from pathlib import Path
        from visionfm.images.reading import inspect
        from visionfm.images.settings import Reading
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in ("PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG"):
            started = time.perf_counter()
            facts = inspect(Path(name), Reading())
            print(name, facts.status.split(":")[0], time.perf_counter() - started < 1)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000)
    """
    path = str(Path(images.__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
    )
    lines = done.stdout.splitlines()
    assert [line.split()[1:] for line in lines[:-1]] == [["too_large", "True"]] * 6, done.stdout + done.stderr
    assert lines[-1] == "True"


def test_the_limit_is_ours_from_the_header_and_can_be_raised(tmp_path):
    data = encoded(Image.new("L", (2000, 1000)), "PNG")
    facts = inspect(data, tmp_path, max_megapixels=1.9)
    assert (reason(facts), facts.width, facts.height) == ("too_large", 2000, 1000)
    assert inspect(data, tmp_path, max_megapixels=2).status == "ok"
    with pytest.raises(DataError, match="max_megapixels"):
        decode(data, max_megapixels=1.9)


def test_pillows_own_limit_neither_refuses_nor_warns_nor_is_left_changed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(pillow, "_PILLOWS_OWN_LIMIT", 100)  # as if read at import
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as threads:
        warnings.simplefilter("error")
        files = [data for name, data in WHOLE.items() if name != "WEBP"] * 10  # Pillow checks WebP as it opens it
        assert all(array.shape == (40, 61, 3) for array in threads.map(decode, files))
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("name", ["GIF", "TIFF"])
def test_a_chain_of_very_many_frames_is_counted_in_a_moment(name, tmp_path):
    frames = 20_000
    if name == "GIF":
        block = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
        data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + block * frames + b";"
    else:
        page = tiff(np.zeros((1, 1), np.uint8))[8:-5]
        ends = [8 + (i + 1) * (len(page) + 4) for i in range(frames - 1)] + [0]
        data = b"II*\0" + struct.pack("<I", 8) + b"".join(page + struct.pack("<I", end) for end in ends)
    started = time.perf_counter()
    facts = inspect(data, tmp_path)
    assert (reason(facts), facts.frames) == ("multi_frame", frames)
    assert time.perf_counter() - started < 1


def test_a_tiff_whose_pages_point_in_a_circle_ends():
    page = tiff(np.zeros((1, 1), np.uint8))
    assert tiffs.count_tiff_frames(page[:-5] + struct.pack("<I", 8) + page[-1:]) == 1


# Several images in a file


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_a_file_with_several_images_needs_to_be_told_which(name, tmp_path):
    data = several(name)
    facts = inspect(data, tmp_path)
    assert (reason(facts), facts.frames) == ("multi_frame", 2)
    with pytest.raises(DataError, match="frame: 0"):
        decode(data)
    for frame, channel in ((0, 0), (1, 2)):
        assert inspect(data, tmp_path, frame=frame).status == "ok"
        for exact in (True, False):
            means = decode(data, frame=frame, target_px=2, exact=exact).mean((0, 1))
            assert means.argmax() == channel and means[channel] > 150
    for frame in (2, -1):
        assert reason(inspect(data, tmp_path, frame=frame)) == "no_frame"


def test_frame_0_of_a_single_image_is_the_image():
    assert all(np.array_equal(decode(data, frame=0), decode(data)) for data in WHOLE.values())


def test_every_format_is_known_by_its_first_bytes_and_by_no_other_formats():
    for name, data in WHOLE.items():
        expected = "JPEG" if name == "progressive" else name.partition("-")[0]
        assert [one.name for one in CONTAINERS if one.matches(data)] == [expected]
    suffixes = [suffix for one in CONTAINERS for suffix in one.suffixes]
    assert len(suffixes) == len(set(suffixes)) and set(suffixes) == images.ALLOWED_SUFFIXES | images.ASKED_SUFFIXES
