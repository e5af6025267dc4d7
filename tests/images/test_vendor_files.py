"""Volumes as makers of cameras and their software store them: slices, the picture of the fundus, what the header says.

Files are drawn from the structures that open readers know; no real .e2e, .fda, .fds and .img was at hand.
"""

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.image_files import decode, inspect, reason
from world.volume_files import FUNDUS, e2e, nifti, topcon, vol

from visionfm.data.listing import list_images
from visionfm.errors import DataError
from visionfm.images import reading as images
from visionfm.images.containers import container_of, zeiss_img
from visionfm.images.containers.heyex_xml import XML
from visionfm.images.containers.slices import SLICES
from visionfm.images.settings import Reading
from visionfm.images.whole import read_whole

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


def folder_of(folder: Path, scans: object, suffix: str = "png") -> Path:
    folder.mkdir(parents=True)
    for number, scan in enumerate(scans):
        Image.fromarray(scan).save(folder / f"{number}_image.{suffix}")
    return folder


def test_a_folder_of_numbered_pictures_is_a_volume(tmp_path: Path) -> None:
    scans = np.random.default_rng(0).integers(0, 256, (12, 20, 24), dtype=np.uint8)
    folder = folder_of(tmp_path / "7" / "7", scans)
    (folder / "notes.txt").touch()
    (listed,) = list_images(tmp_path, "table", "*/*/")
    assert listed.path == "7/7" and list_images(tmp_path, "table", "7/") == []
    found = images.inspect_frames(folder, Reading(), "all")
    assert [(one.frame, one.facts.status) for one in found] == [(frame, "ok") for frame in range(12)]
    assert all(np.array_equal(decode(read_whole(folder), frame=frame)[..., 0], scans[frame]) for frame in range(12))
    (folder / "9_image.png").touch()  # emptied, or dated anew: the volume has changed
    assert list_images(tmp_path, "table", "*/*/") != [listed]
    Image.fromarray(scans[9]).save(folder / "9_image.png")
    Image.fromarray(scans[0, :10]).save(folder / "thumbnail.png")
    assert "pictures of 2 sizes" in images.inspect(folder, Reading(frame=0)).status


def test_the_published_sample_of_an_xml_export_is_read(shared: Path, tmp_path: Path) -> None:
    from eyepy.io.he.xml_reader import HeXmlReader

    folder = shutil.copytree(shared / "data/vendor_formats/heyex_xml/test_volume", tmp_path / "a")
    file = folder / "test_dummy.xml"
    reader = HeXmlReader(file)
    assert [one.path for one in list_images(tmp_path, "table", "*.xml")] == ["a/test_dummy.xml"]
    found = images.inspect_frames(file, Reading(), "all")
    assert {one.facts.status for one in found} == {"ok"} and len(found) == len(reader.volume.data)
    whole = read_whole(file)
    for frame, expected in enumerate(reader.volume.data):
        assert np.array_equal(decode(whole, frame=frame)[..., 0], expected)
    assert np.array_equal(decode(whole, frame="enface")[..., 0], reader.localizer.data)
    head = XML.header(file)
    assert (head["eye"], head["subject"], head["visit"]) == ("R", "Study-01", "2000-01-01")
    down, across = (float(side) for side in head["PixelSpacing"].split("\\"))
    assert (across, down) == (reader.meta["scale_x"], reader.meta["scale_y"])
    (listed,) = list_images(tmp_path, "table", "*.xml")
    shutil.copy(folder / "B3.tif", folder / "B2.tif")
    assert list_images(tmp_path, "table", "*.xml") != [listed]
    assert images.inspect_frames(file, Reading(), "all")[0].facts.image_id != found[0].facts.image_id
    (folder / "B2.tif").unlink()
    assert images.inspect(file, Reading(frame=0)).status.startswith("missing: HEYEX XML, 1 of 10 B-scans")


@pytest.mark.parametrize("text", ["<HEDX", "<HEDX><BODY/></HEDX>", "<!DOCTYPE x [<!ENTITY a 'b'>]><HEDX>&a;</HEDX>"])
def test_an_export_without_pictures_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text)
    assert reason(images.inspect(tmp_path / "a.xml", Reading(frame=0))) in ("empty", "unreadable")


def export_of(pictures: str, *, encoding: str = "utf-8") -> bytes:
    """Return an XML export whose one series with B-scans has these pictures; the other eye has a photograph."""
    other = "<Series><Image><ImageType><Type>LOCALIZER</Type></ImageType><ImageData><ExamURL>other.png</ExamURL>"
    other += "</ImageData></Image></Series>"
    body = f"<BODY><Patient><Study>{other}<Series>{pictures}</Series></Study></Patient></BODY>"
    return f'<?xml version="1.0" encoding="{encoding}"?><HEDX>{body}</HEDX>'.encode()


SCAN = "<Image><ImageType><Type>OCT</Type></ImageType><ImageData><ExamURL>c:\\a\\1.png</ExamURL></ImageData></Image>"


def test_the_photograph_of_another_series_is_not_that_of_a_volume(tmp_path: Path) -> None:
    for name in ("1.png", "other.png"):
        Image.fromarray(EIGHT[0]).save(tmp_path / name)
    (tmp_path / "a.xml").write_bytes(export_of(SCAN))
    assert images.inspect(tmp_path / "a.xml", Reading(frame=0)).status == "ok"
    assert reason(images.inspect(tmp_path / "a.xml", Reading(frame="enface"))) == "no_frame"


@pytest.mark.parametrize("encoding", ["gb2312", "no-such"])
def test_an_export_in_an_encoding_that_cannot_be_read_is_refused(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(export_of(SCAN, encoding=encoding))
    assert reason(images.inspect(tmp_path / "a.xml", Reading(frame=0))) == "unreadable"


def test_a_nifti_whose_values_begin_within_its_header_is_refused(tmp_path: Path) -> None:
    data = bytearray(nifti(EIGHT))
    data[108:112] = np.float32(0).tobytes()  # vox_offset
    assert reason(inspect(bytes(data), tmp_path, frame=0)) == "unreadable"


def test_slices_with_any_names_are_ordered_and_held_decoded_one_at_a_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "7", EIGHT)
    (folder / "0_image.png").rename(folder / "1\u06632.png")  # a digit of another script
    opened = SLICES.open(read_whole(folder))
    first = weakref.ref(opened.chosen)
    opened.load(None)
    opened.seek(1)
    gc.collect()
    assert first() is None
    (tmp_path / "a.png").write_bytes(b"\0PARTS\nno list\n")
    assert reason(images.inspect(tmp_path / "a.png", Reading(frame=0))) == "unreadable"


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
