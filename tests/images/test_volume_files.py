"""Volumes of other kinds, Heidelberg's .vol and stacks of NumPy: known by content, damaged ones refused by a reason."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world.image_files import decode, inspect, reason
from world.volume_files import npy, npz, vol

from visionfm.data.layouts.folders import files_below
from visionfm.data.listing import list_images
from visionfm.errors import DataError
from visionfm.images import reading as images
from visionfm.images.containers.heyex_vol import HEAD_BYTES, read_header
from visionfm.images.settings import Reading

STACK = np.arange(3 * 20 * 24, dtype=np.uint16).reshape(3, 20, 24) * 45


SCANS = np.linspace(0, 1, 3 * 20 * 24).reshape(3, 20, 24)


def test_slices_of_an_array_are_its_first_axis() -> None:
    for data in (npy(STACK), npy(np.asfortranarray(STACK)), npz(volume=STACK)):
        for frame in range(3):
            expected = (STACK[frame].astype(np.uint32) * 255 + 32767) // 65535
            assert (decode(data, frame=frame)[..., 0] == expected).all()
    colour = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    assert (decode(npy(colour), frame=1) == colour[1]).all() and (decode(npy(colour[0])) == colour[0]).all()
    twelve = images.decode(npy(STACK[0]), Reading(bits=15), target_px=None, exact=True, where="x")
    assert twelve.max() == (int(STACK[0].max()) * 255 + 16383) // 32767


REFUSED = {
    "real numbers": (npy(STACK.astype(np.float32)), "unsupported_mode"),
    "objects": (npy(np.array([{}, {}])), "unsupported_mode"),
    "a line": (npy(STACK[0, 0]), "unsupported_mode"),
    "channels that are no colours": (npy(np.zeros((20, 24, 4), np.uint8)), "unsupported_mode"),
    "a channel": (npy(np.zeros((20, 24, 1), np.uint8)), "unsupported_mode"),
    "no frame": (npy(STACK[:0]), "empty"),
    "two arrays": (npz(a=STACK, b=STACK), "unsupported_mode"),
    "half of an array": (npy(STACK)[:-100], "truncated"),
    "half of a volume": (vol(SCANS)[:-100], "truncated"),
    "a head alone": (vol(SCANS)[:1000], "unreadable"),
    "negative reflectivity": (vol(SCANS - 1), "unreadable"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_by_a_reason(name: str, tmp_path: Path) -> None:
    data, expected = REFUSED[name]
    assert reason(inspect(data, tmp_path, frame=0)) == expected


def test_arrays_are_images_only_where_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npz", "c.vol", "d.npy"):
        (tmp_path / name).write_bytes(npy(STACK))
    assert [one.path for one in files_below(tmp_path)] == ["c.vol"]
    assert [one.path for one in list_images(tmp_path, "table", "*.npy")] == ["a.npy", "d.npy"]
    assert [one.path for one in list_images(tmp_path, "table", "b*.npz")] == ["b.npz"]


def test_a_vol_has_its_b_scans_its_eye_and_its_sizes(tmp_path: Path) -> None:
    from eyepy.core.utils import from_vol_intensity

    (tmp_path / "a.vol").write_bytes(vol(SCANS))
    found = images.inspect_frames(tmp_path / "a.vol", Reading(), "all")
    assert [(one.frame, one.facts.status, one.facts.width, one.facts.height) for one in found] == [
        (frame, "ok", 24, 20) for frame in range(3)
    ]
    for frame in range(3):
        shown = decode(vol(SCANS), frame=frame)[..., 0]
        assert (shown == from_vol_intensity(SCANS[frame].astype(np.float32))).all()
    gap = SCANS.copy()
    gap[0, :5] = np.finfo(np.float32).max
    assert (decode(vol(gap), frame=0)[:5] == 0).all() and decode(vol(gap), frame=2).max() == 255
    said = read_header(tmp_path / "a.vol")
    assert (said["eye"], said["subject"], said["visit"]) == ("L", "MRN0012345", "2021-03-04")
    assert said["PixelSpacing"] == "0.0039\\0.0115" and said["SliceDistance"] == "0.24"


def test_the_published_sample_of_a_vol_is_read(shared: Path) -> None:
    file = shared / "data/vendor_formats/heyex_vol/test_volume.vol"
    found = images.inspect_frames(file, Reading(), "all")
    assert len(found) == 10 and {one.facts.status for one in found} == {"ok"}
    assert read_header(file)["eye"] == "R"


WHOLE = [npy(STACK), npz(volume=STACK), vol(SCANS)]


@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whole=st.sampled_from(WHOLE),
    flips=st.lists(st.tuples(st.integers(12, HEAD_BYTES + 300), st.integers(0, 255)), max_size=6),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_damage_gives_pixels_or_a_reason_that_names_nobody(
    whole: bytes, flips: list[tuple[int, int]], cut: float | None
) -> None:
    data = bytearray(whole)
    for at, byte in flips:
        data[at % len(data)] = byte
    damaged = bytes(data if cut is None else data[: int(cut * len(data))])
    nothing = images.ImageFacts("", 0, 0, "", 0, 0, "ok")
    for one in images._inspected(damaged, nothing, Reading(max_megapixels=1), 3):
        assert "MRN" not in one.facts.status
        if one.facts.status != "ok":
            reason(one.facts)
            with pytest.raises(DataError):
                decode(damaged, max_megapixels=1, frame=one.frame)
