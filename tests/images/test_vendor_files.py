"""Volumes as makers of cameras and their software store them: slices, the picture of the fundus, what the header says.

Files are drawn from the structures that open readers know; no real .e2e, .fda, .fds and .img was at hand.
"""

from pathlib import Path

import numpy as np
import pytest
from world.image_files import decode, inspect, reason
from world.volume_files import FUNDUS, e2e, nifti, topcon, vol

from visionfm.data.listing import list_images
from visionfm.errors import DataError
from visionfm.images import reading as images
from visionfm.images.containers import container_of, zeiss_img
from visionfm.images.settings import Reading

EIGHT = np.arange(3 * 20 * 24, dtype=np.uint8).reshape(3, 20, 24)
SIXTEEN = EIGHT.astype(np.uint16) * 257
PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
STORED = np.random.default_rng(1).integers(0, 40_000, (5, 20, 24)).astype("<u2")


def slices(data: bytes, count: int = 3) -> list[object]:
    return [decode(data, frame=frame)[..., 0] for frame in range(count)]


def said(data: bytes, folder: Path, name: str) -> dict[str, str]:
    (folder / name).write_bytes(data)
    container = container_of(data)
    assert container is not None and container.header is not None
    return dict(container.header(folder / name))


@pytest.mark.parametrize(
    "data",
    [nifti(EIGHT), nifti(EIGHT, packed=True), nifti(EIGHT, second=True), nifti(SIXTEEN), topcon(EIGHT), topcon(SIXTEEN),
     topcon(SIXTEEN, "FDS")],
    ids=["nifti", "nifti.gz", "nifti-2", "nifti of 16 bits", "fda", "raw fda", "fds"],
)  # fmt: skip
def test_slices_are_those_that_were_stored(data: bytes) -> None:
    assert np.array_equal(slices(data), EIGHT)


def test_a_nifti_of_real_numbers_is_shown_by_its_display_range_and_refused_without(tmp_path: Path) -> None:
    values = EIGHT.astype(np.float32) * 2 + 7
    assert np.array_equal(slices(nifti(values, shown=(7, 517))), EIGHT)
    assert "without a display range" in inspect(nifti(values), tmp_path, frame=0).status
    signed = nifti(EIGHT.astype(np.int16) * 16)
    assert reason(inspect(signed, tmp_path, frame=0)) == "unsupported_mode"
    twelve = images.decode(signed, Reading(frame=0, bits=12), target_px=None, exact=True, where="x")
    assert (abs(twelve[..., 0].astype(int) - EIGHT[0]) <= 1).all()


def test_a_cube_of_cirrus_is_known_by_its_length() -> None:
    stored = np.zeros((200, 1024, 200), np.uint8)
    stored[3, -1, -1] = 200  # the first pixel of the fourth B-scan
    data = stored.tobytes()
    assert decode(data, frame=3)[0, 0, 0] == 200 and decode(data, frame=0).max() == 0
    assert container_of(data) is zeiss_img.IMG and container_of(data[1:]) is None
    assert sorted(zeiss_img.CUBES.values()) == [(128, 512), (200, 200)]


def test_an_e2e_has_its_b_scans_in_order(tmp_path: Path) -> None:
    from eyepy.core.utils import from_e2e_intensity
    from eyepy.io.he.e2e_reader import HeE2eReader

    data = e2e(STORED)
    (tmp_path / "a.e2e").write_bytes(data)
    with HeE2eReader(tmp_path / "a.e2e") as reader:  # eyepy agrees that it is one
        expected = [reader.series[0].slices[2 * at].get_bscan().astype(np.float32) for at in range(len(STORED))]
    for shown, stored in zip(slices(data, len(STORED)), expected, strict=True):
        assert np.array_equal(shown, from_e2e_intensity(stored))
    several = inspect(e2e(STORED, STORED), tmp_path, frame=0)
    assert reason(several) == "unsupported_mode" and "2 volumes in one file" in several.status


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (vol(EIGHT / 255), FUNDUS),
        (e2e(STORED), FUNDUS),
        (topcon(EIGHT, photograph=PHOTOGRAPH), PHOTOGRAPH),
        (topcon(SIXTEEN, "FDS", photograph=PHOTOGRAPH), PHOTOGRAPH),
    ],
    ids=["vol", "e2e", "fda", "fds"],
)
def test_the_picture_of_the_fundus_is_an_image_of_its_own(data: bytes, expected: object, tmp_path: Path) -> None:
    shown = decode(data, frame="enface")
    assert np.array_equal(shown if np.ndim(expected) == 3 else shown[..., 0], expected)
    facts = inspect(data, tmp_path, frame="enface")
    assert facts.status == "ok" and (facts.height, facts.width) == np.shape(expected)[:2]


@pytest.mark.parametrize("data", [e2e(STORED, fundus=False), topcon(EIGHT), nifti(EIGHT)], ids=["e2e", "fda", "nifti"])
def test_a_volume_without_a_picture_of_the_fundus_says_so(data: bytes, tmp_path: Path) -> None:
    assert reason(inspect(data, tmp_path, frame="enface")) == "no_frame"
    with pytest.raises(DataError, match="no picture of the fundus"):
        decode(data, frame="enface")


def test_headers_say_eye_person_date_and_sizes(tmp_path: Path) -> None:
    for found in (said(e2e(STORED, eye="L"), tmp_path, "a.e2e"), said(topcon(EIGHT, eye=1), tmp_path, "b.fda")):
        assert (found["eye"], found["subject"], found["visit"]) == ("L", "MRN0012345", "2021-03-04")
    assert found["PixelSpacing"] == "0.0026\\0.25" and found["SliceDistance"] == "1.5"
    for data in (nifti(EIGHT), nifti(EIGHT, packed=True)):
        found = said(data, tmp_path, "c.nii")
        assert [f"{float(side):.3f}" for side in found["PixelSpacing"].split("\\")] == ["0.004", "0.012"]
        assert f"{float(found['SliceDistance']):.2f}" == "0.24"


def test_names_that_may_be_other_things_are_images_only_where_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii", "c.img", "d.e2e", "e.fda", "f.fds", "g.csv.gz"):
        (tmp_path / name).write_bytes(b"x")
    assert [one.path for one in list_images(tmp_path, "table")] == ["d.e2e", "e.fda", "f.fds"]
    assert [one.path for one in list_images(tmp_path, "table", "*.nii.gz")] == ["a.nii.gz"]
    assert [one.path for one in list_images(tmp_path, "table", "*.img")] == ["c.img"]


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["nifti", "nifti.gz", "fda", "raw fda", "e2e"])
def test_a_file_that_is_cut_is_refused(kind: str, cut: float, tmp_path: Path) -> None:
    whole = {"nifti": nifti(EIGHT), "nifti.gz": nifti(EIGHT, packed=True), "fda": topcon(EIGHT),
             "raw fda": topcon(SIXTEEN), "e2e": e2e(STORED)}[kind]  # fmt: skip
    assert reason(inspect(whole[: int(cut * len(whole))], tmp_path, frame=0)) in ("truncated", "unreadable")
