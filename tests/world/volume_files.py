"""Volumes made in memory for the tests, as makers' software writes them, from the structures that open readers know.

No real .e2e, .fda, .fds or .img was at hand: what such files hold beside these structures is not tried.
"""

import gzip
import io
import struct
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from visionfm.images.containers.heyex_vol import HEAD_BYTES, SCAN_HEAD_BYTES


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


FUNDUS = np.arange(8 * 6, dtype=np.uint8).reshape(6, 8) * 5


def vol(scans: Any, eye: str = "OS", patient: str = "MRN0012345") -> bytes:
    """Return a .vol of B-scans (F, H, W) of reflectivity, as HEYEX writes it; the visit is of 4 March 2021."""
    count, height, width = scans.shape
    head = struct.pack(
        "<12sIIIdddIIddId4sQiI16s16sI24sdI24sdIIII34s1790x",
        *(b"HSF-OCT-103", width, count, height, 0.0115, 0.24, 0.0039, 8, 6, 0.01, 0.01, 30, 0.0, eye.encode(), 10**17),
        *(3, SCAN_HEAD_BYTES, b"1", b"", 7, patient.encode(), 20000.0, 1, b"", 44259.0, 0, 0, 0, 0, b""),
    )
    assert len(head) == HEAD_BYTES
    start = struct.pack("<12sIddddIIfI6f168x", b"HSF-BS-103", SCAN_HEAD_BYTES, 0, 0, 1, 0, 0, 256, 30, 0, *[0] * 6)
    assert len(start) == SCAN_HEAD_BYTES
    return head + FUNDUS.tobytes() + b"".join(start + scan.astype("<f4").tobytes() for scan in scans)


def nifti(volume: Any, *, packed: bool = False, second: bool = False, shown: tuple[float, float] = (0, 0)) -> bytes:
    """Return slices (F, H, W) as NIfTI-1 or -2, written by nibabel; a pixel is 4 x 12 um, slices lie 0.24 mm apart."""
    import nibabel

    kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    image = kind(np.ascontiguousarray(np.moveaxis(volume, 0, -1).swapaxes(0, 1)), np.diag([0.012, 0.004, 0.24, 1]))
    image.header.set_xyzt_units("mm")
    image.header["cal_min"], image.header["cal_max"] = shown
    data: bytes = image.to_bytes()
    return gzip.compress(data, mtime=0) if packed else data


def topcon(
    scans: Any, kind: str = "FDA", *, eye: int = 1, patient: str = "MRN0012345", photograph: Any = None
) -> bytes:
    """Return B-scans (F, H, W), as JPEG 2000 in a .fda where they have 8 bits, else raw; of 4 March 2021."""
    number, height, width = scans.shape
    if scans.dtype == np.uint8:
        streams = [encoded(scan, irreversible=False) for scan in scans]
        body = struct.pack("<BIIIIII", 2, 0, 0, width, height, number, 0)
        blocks = {"@IMG_JPEG": body + b"".join(struct.pack("<I", len(one)) + one for one in streams)}
    else:
        raw = scans.astype("<u2").tobytes()
        name = "@IMG_SCAN_03" if kind == "FDS" else "@IMG_MOT_COMP_03"
        blocks = {name: struct.pack("<BIIIIBI", 2, width, height, 16, number, 0, len(raw)) + raw}
    if photograph is not None:
        blue_first, (rows, columns) = np.ascontiguousarray(photograph[:, :, ::-1]), photograph.shape[:2]
        if kind == "FDS":
            head = struct.pack("<IIIIBI", columns, rows, 24, 1, 0, blue_first.size)
            blocks["@IMG_OBS"] = head + blue_first.tobytes()
        else:
            stream = encoded(blue_first, irreversible=False, mct=0)
            blocks["@IMG_FUNDUS"] = struct.pack("<IIII4sI", columns, rows, 24, 1, b"", len(stream)) + stream
    blocks["@PATIENT_INFO_02"] = struct.pack("<32s32s32s8xB", patient.encode(), b"Jane", b"MRNDoe", 2) + bytes(500)
    blocks["@CAPTURE_INFO_02"] = struct.pack("<BBI100s6H", eye, 2, 0, b"", 2021, 3, 4, 10, 0, 0)
    blocks["@PARAM_SCAN_04"] = struct.pack("<IIIdddddBB", 0, 0, 0, 6.0, 4.5, 2.6, 0, 0, 0, 0)
    packed = [struct.pack("<B", len(name)) + name.encode() + struct.pack("<I", len(one)) + one
              for name, one in blocks.items()]  # fmt: skip
    return b"FOCT" + b"FDA" + struct.pack("<II", 2, 1000) + b"".join(packed) + b"\0"


def export(pictures: list[str], patient: str = "MRN0012345", eye: str = "R") -> bytes:
    """Return the XML of an export of HEYEX whose B-scans are these pictures beside it."""
    scans = "".join(
        f"<Image><ImageType><Type>OCT</Type></ImageType><ImageData><ExamURL>c:\\a\\{name}</ExamURL></ImageData></Image>"
        for name in pictures
    )
    series = f"<Series><Laterality>{eye}</Laterality>{scans}</Series>"
    person = f"<Patient><PatientID>{patient}</PatientID><LastName>MRNDoe</LastName><Study>{series}</Study></Patient>"
    return f'<?xml version="1.0" encoding="utf-8"?><HEDX><BODY>{person}</BODY></HEDX>'.encode()


def encoded(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", **options)
    return buffer.getvalue()


def e2e(*volumes: Any, eye: str = "R", patient: str = "MRN0012345", fundus: bool = True, chunk: int = 4) -> bytes:
    """Return volumes of B-scans (F, H, W) of 16 bits as HEYEX stores them, in chunks of so many folders."""
    folders: list[tuple[int, int, int, bytes]] = []  # series, slice, kind, content
    for series, scans in enumerate(volumes):
        folders.append((series, -1, 9, struct.pack("<31s66sIs25s", b"Jane", b"MRNDoe", 0, b"F", patient.encode())))
        folders.append((series, -1, 11, bytes(14) + eye.encode() + bytes(12)))
        ticks = int((datetime(2021, 3, 4) - datetime(1601, 1, 1)).total_seconds() * 10**7)
        folders.append((series, -1, 10005, bytes(16) + struct.pack("<Q", ticks)))
        if fundus:
            folders.append((series, -1, 1073741824, _picture(33620481, FUNDUS)))
        folders += [(series, 2 * at, 1073741824, _picture(35652097, scan)) for at, scan in enumerate(scans)]
    body, before = bytearray(bytes(88)), 0
    for first in range(0, len(folders), chunk):
        part = folders[first : first + chunk]
        at, entries, contents = len(body), b"", b""
        start = at + 52 + 44 * len(part)
        for number, (series, scan, kind, content) in enumerate(part):
            ids, place = (1, 2, series, scan), at + 52 + 44 * number
            entries += struct.pack("<4I4i2H2I", place, start, len(content), 0, *ids, 0, 0, kind, 0)
            head = struct.pack("<12s5I4i2H2I", b"MDbData", 0, place, start, len(content), 0, *ids, 0, 0, kind, 0)
            contents += head + content
            start += len(head) + len(content)
        body += struct.pack("<12sI20x4I", b"MDbDir", 0x64, len(part), at, before, 0) + entries + contents
        before = at
    main = struct.pack("<12sI20x", b"CMDb", 0x64) + struct.pack("<12sI20x4I", b"MDbMDir", 0x64, 0, before, before, 0)
    body[:88] = main
    return bytes(body)


def _picture(kind: int, pixels: Any) -> bytes:
    height, width = pixels.shape
    return struct.pack("<5I", pixels.nbytes, kind, pixels.size, height, width) + pixels.tobytes()
