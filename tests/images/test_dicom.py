"""DICOM files become the pixels that the standard says a viewer shows; damaged ones get a reason that names nobody."""

import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from world.dicom_files import TOMOGRAM, dataset, dicom, item, ramp, written
from world.image_files import decode, inspect, picture, reason

from visionfm.errors import DataError
from visionfm.images import guarded as guards
from visionfm.images import reading as images
from visionfm.images.containers.container import Refused
from visionfm.images.containers.dicom import DICOM
from visionfm.images.settings import Reading

GREY, COLOUR = ramp(), np.asarray(picture())
WIDE = ramp(bits=12)
STACK = np.stack([GREY, 255 - GREY, GREY // 2])
# What is written, what is shown of it (grey).
SHOWN: dict[str, tuple[bytes, Any]] = {
    "8 bits": (dicom(GREY), GREY),
    "white is zero": (dicom(GREY, "MONOCHROME1"), 255 - GREY),
    "12 bits of 16": (dicom(WIDE, BitsStored=12), np.floor(WIDE / 4095 * 255 + 0.5)),
    "overlays in unused bits": (dicom(WIDE | 0x8000, BitsStored=12), np.floor(WIDE / 4095 * 255 + 0.5)),
    "signed": (dicom((WIDE.astype(np.int16) - 2048), BitsStored=12), np.floor(WIDE / 4095 * 255 + 0.5)),
    "rescaled": (dicom(GREY, RescaleSlope=-2, RescaleIntercept=10), 255 - GREY),
    "a window": (
        dicom(WIDE, BitsStored=12, WindowCenter=[1000, 2000], WindowWidth=[501, 10]),
        np.floor(np.clip((WIDE.astype(float) - 999.5) / 500 + 0.5, 0, 1) * 255 + 0.5),
    ),
    "an exact window": (
        dicom(WIDE, BitsStored=12, WindowCenter=1000, WindowWidth=500, VOILUTFunction="LINEAR_EXACT"),
        np.floor(np.clip((WIDE.astype(float) - 1000) / 500 + 0.5, 0, 1) * 255 + 0.5),
    ),
    "a table": (
        dicom(
            GREY, VOILUTSequence=[item(LUTDescriptor=[256, 0, 8], LUTData=np.arange(255, -1, -1, np.uint16).tobytes())]
        ),
        255 - GREY,
    ),
    "big endian": (dicom(WIDE.astype(">u2"), syntax=ExplicitVRBigEndian, BitsStored=12), WIDE // 16.06),
    "implicit": (dicom(GREY, syntax=ImplicitVRLittleEndian), GREY),
    "deflated": (dicom(GREY, syntax=DeflatedExplicitVRLittleEndian), GREY),
}


def transcoded(data: bytes, syntax: UID) -> bytes:
    """Return a file in another transfer syntax, as GDCM writes it."""
    import gdcm

    source, target = Path("in.dcm"), Path("out.dcm")
    source.write_bytes(data)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()


@pytest.mark.parametrize("name", SHOWN)
def test_grey_values_are_shown_as_a_viewer_shows_them(name: str) -> None:
    data, expected = SHOWN[name]
    shown = decode(data)
    assert (shown[..., 0] == shown[..., 1]).all() and np.abs(shown[..., 0] - expected).max() <= (name == "big endian")


def test_bits_of_the_dataset_count_in_place_of_the_files_window() -> None:
    data = dicom(WIDE // 4, BitsStored=12, WindowCenter=1000, WindowWidth=501)
    shown = images.decode(data, Reading(bits=10), target_px=None, exact=True, where="x")
    assert (shown[..., 0] == np.floor((WIDE // 4) / 1023 * 255 + 0.5)).all()
    with pytest.raises(DataError, match="too_bright"):
        images.decode(data, Reading(bits=9), target_px=None, exact=True, where="x")


def test_colours_are_rgb_however_they_are_stored() -> None:
    planes = dataset(COLOUR, "RGB", PlanarConfiguration=1)
    planes.PixelData = np.ascontiguousarray(COLOUR.transpose(2, 0, 1)).tobytes()
    ybr = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    assert (decode(dicom(COLOUR, "RGB")) == COLOUR).all() and (decode(written(planes)) == COLOUR).all()
    assert np.abs(decode(dicom(ybr, "YBR_FULL")).astype(int) - COLOUR).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_its_colours(bits: int) -> None:
    step = 257 if bits == 16 else 1
    kind = np.uint16 if bits == 16 else np.uint8
    names = {"Red": np.arange(256), "Green": np.arange(256)[::-1], "Blue": np.full(256, 9)}
    tables = {f"{name}PaletteColorLookupTableData": (values * step).astype(kind).tobytes() for name, values in
              names.items()}  # fmt: skip
    descriptors = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, bits] for name in names}
    data = dicom(GREY, "PALETTE COLOR", **tables, **descriptors)
    assert (decode(data) == np.stack([GREY, 255 - GREY, np.full_like(GREY, 9)], axis=-1)).all()


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.name
)
def test_lossless_syntaxes_give_the_same_pixels(syntax: UID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for plain in (dicom(COLOUR, "RGB"), dicom(WIDE, BitsStored=12)):
        packed = transcoded(plain, syntax)
        assert packed != plain and (decode(packed) == decode(plain)).all()


def test_a_jpeg_inside_is_the_jpeg() -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "JPEG", quality=90)
    data = dicom(COLOUR, "YBR_FULL_422", syntax=JPEGBaseline8Bit, frames=[buffer.getvalue()])
    assert np.abs(decode(data).astype(int) - decode(buffer.getvalue())).max() <= 2


def test_frames_are_chosen_and_have_windows_of_their_own(tmp_path: Path) -> None:
    groups = [item(FrameVOILUTSequence=[item(WindowCenter=128, WindowWidth=width)]) for width in (256, 256, 129)]
    data = dicom(STACK, kind=TOMOGRAM, PerFrameFunctionalGroupsSequence=groups)
    facts = inspect(data, tmp_path)
    assert reason(facts) == "multi_frame" and facts.frames == 3
    for frame in (0, 1):
        assert (decode(data, frame=frame)[..., 0] == STACK[frame]).all()
    shown = np.floor(np.clip((STACK[2] - 127.5) / 128 + 0.5, 0, 1) * 255 + 0.5)
    assert (decode(data, frame=2)[..., 0] == shown).all()
    assert reason(inspect(data, tmp_path, frame=3)) == "no_frame"


def test_facts_and_notes(tmp_path: Path) -> None:
    facts = inspect(dicom(WIDE, BitsStored=12, BurnedInAnnotation="YES"), tmp_path)
    assert (facts.width, facts.height, facts.mode, facts.frames, facts.status) == (32, 24, "I;16", 1, "ok")
    assert facts.note == "burned-in annotation: text in its pixels may name a person"
    assert inspect(dicom(GREY, BurnedInAnnotation="NO"), tmp_path).note is None


# Damage


def without(name: str) -> bytes:
    made = dataset(GREY)
    del made[name]
    return written(made)


REFUSED = {
    "no pixels": (without("PixelData"), "truncated"),
    "no size": (without("Rows"), "truncated"),
    "a report": (
        written(
            item(
                file_meta=dataset(GREY).file_meta,
                SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.104.1"),
                SOPInstanceUID=UID("1.2.3"),
                PatientID="MRN0012345",
            )
        ),
        "not_an_image",
    ),
    "a film": (dicom(GREY, syntax=MPEG2MPML, frames=[b"\0" * 64]), "unsupported_mode"),
    "half of its pixels": (dicom(GREY)[:-100], "truncated"),
    "frames that are not there": (dicom(STACK, NumberOfFrames=2_000_000_000), "truncated"),
    "larger than the limit": (dicom(GREY, Rows=60000, Columns=60000), "truncated"),
    "32 bits": (dicom(GREY.astype(np.uint32)), "unsupported_mode"),
    "ink": (dicom(GREY, "CMYK"), "unsupported_mode"),
    "a window without width": (dicom(GREY, WindowCenter=5, WindowWidth=0), "unreadable"),
    "nothing": (bytes(128) + b"DICM", "not_an_image"),
    "a TIFF in front": (b"II*\0" + bytes(124) + b"DICM", "not_an_image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_or_damaged_is_refused_by_a_reason(name: str, tmp_path: Path) -> None:
    data, expected = REFUSED[name]
    facts = inspect(data, tmp_path)
    assert reason(facts) == expected, facts.status
    with pytest.raises(DataError, match=expected):
        decode(data)


def test_size_is_checked_from_the_header(tmp_path: Path) -> None:
    large = dicom(np.zeros((2000, 1000), np.uint8))
    assert reason(inspect(large, tmp_path, max_megapixels=1)) == "too_large"


WHOLE = [dicom(GREY), dicom(STACK), dicom(COLOUR, "RGB"), dicom(WIDE, BitsStored=12, WindowCenter=9, WindowWidth=9)]


@settings(max_examples=300, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whole=st.sampled_from(WHOLE),
    flips=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_damage_gives_pixels_or_a_reason_that_names_nobody(
    whole: bytes, flips: list[tuple[int, int]], cut: float | None
) -> None:
    data = bytearray(whole)
    for at, byte in flips:
        data[132 + at if at + 132 < len(data) else at] = byte
    damaged = bytes(data if cut is None else data[: 132 + int(cut * (len(data) - 132))])
    nothing = images.ImageFacts("", 0, 0, "", 0, 0, "ok")
    facts = images._inspected(damaged, nothing, Reading(max_megapixels=1), None)[0].facts
    assert "MRN" not in facts.status and "Doe" not in facts.status
    if facts.status != "ok":
        reason(facts)
        with pytest.raises(DataError) as said:
            decode(damaged, max_megapixels=1)
        assert "MRN" not in str(said.value) and "Doe" not in str(said.value)


# Guarded


def test_a_crash_and_an_endless_decoder_are_facts_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="broke down"):
        guards.guarded(os._exit, 11, file_bytes=0)
    with pytest.raises(DataError, match="was killed"):  # by the system, which says nothing of the file
        guards.guarded(signal.raise_signal, signal.SIGKILL, file_bytes=0)
    monkeypatch.setattr(guards, "MOST_S", 0.3)
    begun = time.monotonic()
    with pytest.raises(Refused, match="no end"):
        guards.guarded(time.sleep, 60, file_bytes=0)
    assert time.monotonic() - begun < 10
    monkeypatch.undo()
    assert guards.guarded(int, "7", file_bytes=0) == 7  # and the next file is read


def test_a_file_that_wants_more_memory_than_there_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guards.end()
    monkeypatch.setattr(guards, "MOST_BYTES", 250 << 20)
    assert inspect(dicom(GREY), tmp_path).status == "ok"
    bomb = dicom(np.zeros((12_000, 20_000), np.uint8), syntax=DeflatedExplicitVRLittleEndian)  # 240 MB in 240 kB
    assert len(bomb) < 1 << 19
    facts = inspect(bomb, tmp_path, max_megapixels=1)
    assert reason(facts) == "too_large" and "memory" in facts.status
    guards.end()


def test_a_missing_library_says_nothing_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionfm.images.containers.container.find_spec", lambda name: None)
    assert DICOM.missing() == "install visionfm[dicom]"
    with pytest.raises(DataError, match=r"install visionfm\[dicom\]"):
        inspect(dicom(GREY), tmp_path)
