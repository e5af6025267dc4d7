"""Whatever bytes stand in a `.npy` of landmarks, they are read or refused in our words, soon and in little memory."""

import io
import random
import time

import numpy as np
import pytest

from visionfm.errors import DataError
from visionfm.images.points import read_points

SIZE_WH, NAMES = (8, 6), ["disc", "fovea"]


def whole() -> bytes:
    array_HWK = np.zeros((6, 8, 2), np.float32)
    array_HWK[2, 3, 0] = array_HWK[4, 5, 1] = 1
    target = io.BytesIO()
    np.save(target, array_HWK)
    return target.getvalue()


def with_header(text: str, version: bytes = b"\x01\x00") -> bytes:
    header = text.encode().ljust(118)
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + b"\0" * 384


def changed(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few of the header's changed."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 6])):
        at = rng.randrange(130)
        if rng.random() < 0.5:
            content[at] = rng.choice(b"()[]{}'\",:0123456789-<>|OVf\0 \n")
        else:
            content[at] = rng.randrange(256)
    return bytes(content)


def test_changed_bytes_are_read_or_refused() -> None:
    rng, data, refused = random.Random(0), whole(), 0
    began = time.perf_counter()
    for _ in range(2000):
        try:
            read_points(changed(data, rng), NAMES, SIZE_WH, "eyes/1.npy")
        except DataError:
            refused += 1
    assert refused > 1000 and time.perf_counter() - began < 30


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000, 2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8, 2)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (6, 8, 2)}",
        "{'descr': '<V0', 'fortran_order': False, 'shape': (9999999, 8, 2)}",
        "{'descr': [], 'fortran_order': False, 'shape': (6, 8, 2)}",
        "(" * 110,
        "{'descr': ",
    ],
)
def test_headers_that_make_no_sense_are_refused(header: str) -> None:
    for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"):
        with pytest.raises(DataError, match="array of landmarks cannot be used"):
            read_points(with_header(header, version), NAMES, SIZE_WH, "eyes/1.npy")
