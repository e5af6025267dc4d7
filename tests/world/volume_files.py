"""Volumes made in memory for the tests: arrays of NumPy, and Heidelberg's .vol."""

import io
import struct
from typing import Any

import numpy as np

from visionfm.images.containers.heyex_vol import HEAD_BYTES, SCAN_HEAD_BYTES


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


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
    return head + bytes(8 * 6) + b"".join(start + scan.astype("<f4").tobytes() for scan in scans)
