"""NIfTI-1 and -2 in one file (`.nii`, `.nii.gz`), parsed by nibabel: slices are the third axis, (column, row, slice).

Values are shown in the range that the reading's `bits` give, else by the header's display range (cal_min, cal_max);
where there is neither, whole numbers of 8 or 16 bits without sign as they are, and others not at all. Nothing is
turned: what the affine says of the patient is not applied. The header names no person, eye or date.
"""

import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright, blamed
from visionfm.images.pixels import Pixels, eight_bits

GZIP = b"\x1f\x8b"
MARKS = {b"n+1\0": 344, b"n+2\0": 4}  # where they stand: NIfTI-1, NIfTI-2
HEAD_BYTES, MOST_HEAD_BYTES = 540, 1 << 16
_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the unit's code; without one, mm


class _Nifti(Opened):
    """A volume whose header was read; its values are a view of the file's bytes."""

    def __init__(self, data: bytes) -> None:
        """Read the header, check it against the length of the file, and unpack no more than it promises."""
        with blamed("NIfTI"):
            self.head = _head(data)
            shape = [int(side) for side in self.head.get_data_shape()]
            while len(shape) > 2 and shape[-1] == 1:
                shape.pop()
            if len(shape) not in (2, 3):
                raise Refused("unsupported_mode", f"NIfTI, an array of {len(shape)} axes")
            kind, start = self.head.get_data_dtype(), int(self.head["vox_offset"])
            if start < self.head.single_vox_offset:
                raise Refused("unreadable", f"NIfTI, values from byte {start} on, which is within its header")
            end = start + prod(shape) * kind.itemsize
            content = zlib.decompressobj(31).decompress(data, end) if data.startswith(GZIP) else data
            if len(content) < end:
                raise Refused("truncated", f"NIfTI, {len(content)} bytes, {end} promised")
            if not prod(shape):
                raise Refused("empty", "NIfTI, no value")
            values = np.frombuffer(content, kind, prod(shape), start).reshape(shape, order="F")
            self.values = values if values.ndim == 3 else values[:, :, None]
            if kind.names not in (None, ("R", "G", "B")) or kind.kind not in "uifV":
                raise Refused("unsupported_mode", f"NIfTI, values of type {kind.name}")
        self.frames, self.frame = self.values.shape[2], 0

    def header(self) -> Header:
        """Return size and mode, as Pillow would name it."""
        width, height = self.values.shape[:2]
        kind = self.values.dtype
        return Header(width, height, "RGB" if kind.names else "L" if kind.itemsize == 1 else "I;16")

    def seek(self, frame: int) -> None:
        """Choose a slice."""
        self.frame = frame

    def load(self, shrink_to_px: int | None) -> Upright:
        """Return the size: nothing is to be decoded."""
        width, height = self.values.shape[:2]
        return Upright(width, height, 1)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the chosen slice."""
        with blamed("NIfTI"):
            stored_HW = self.values[:, :, self.frame].T
            if stored_HW.dtype.names:
                return np.ascontiguousarray(np.stack([stored_HW[name] for name in "RGB"], axis=-1))
            return np.repeat(self._grey(stored_HW, bits)[:, :, None], 3, axis=2)

    def numbers(self) -> Image.Image:
        """Return the slice's numbers, of any type that they were saved in; Refused unless whole, and of 16 bits."""
        stored_HW = self.values[:, :, self.frame].T
        if stored_HW.dtype.names:
            raise Refused("unsupported_mode", "NIfTI, colours")
        slope, offset = self.head.get_slope_inter()
        values_HW = stored_HW * (slope or 1.0) + (offset or 0.0)
        if not (np.isfinite(values_HW).all() and (values_HW == np.rint(values_HW)).all()):
            raise Refused("unsupported_mode", "NIfTI, values that are no whole numbers")
        if values_HW.min() < 0 or values_HW.max() >= 1 << 16:
            raise Refused("unsupported_mode", f"NIfTI, values of {values_HW.min():g} to {values_HW.max():g}")
        return Image.fromarray(np.ascontiguousarray(values_HW.astype(np.uint16)))

    def _grey(self, stored_HW: npt.NDArray[Any], bits: int | None) -> Pixels:
        slope, offset = self.head.get_slope_inter()
        scaled = (slope or 1.0, offset or 0.0) != (1.0, 0.0)
        low, high = float(self.head["cal_min"]), float(self.head["cal_max"])
        if bits is not None:
            if stored_HW.dtype.kind == "f" or stored_HW.min() < 0 or stored_HW.max() >= 2**bits:
                raise Refused("too_bright", f"NIfTI, values that are not in 0 to {2**bits - 1}")
            return eight_bits(stored_HW, bits)
        if high > low:
            shown_HW = (stored_HW.astype(np.float64) * (slope or 1.0) + (offset or 0.0) - low) / (high - low)
            if not np.isfinite(shown_HW).all():
                raise Refused("unreadable", "NIfTI, values that are no numbers")
            return np.rint(np.clip(shown_HW, 0, 1) * 255).astype(np.uint8)
        if stored_HW.dtype.kind != "u" or stored_HW.dtype.itemsize > 2 or scaled:
            what = f"values of type {stored_HW.dtype.name}{', scaled,' * scaled}"
            raise Refused("unsupported_mode", f"NIfTI, {what} without a display range (cal_min, cal_max) or `bits`")
        return eight_bits(stored_HW, 8 * stored_HW.dtype.itemsize)


def read_header(path: Path) -> Mapping[str, str]:
    """Return the sizes of a pixel, and between slices, in mm; Refused for a damaged file."""
    with path.open("rb") as file, blamed("NIfTI"):
        head = _head(file.read(MOST_HEAD_BYTES))
    width, height, *between = (float(size) * _TO_MM[int(head["xyzt_units"]) & 7] for size in head["pixdim"][1:4])
    sizes = {"PixelSpacing": f"{height:.9g}\\{width:.9g}", "SliceDistance": f"{between[0]:.9g}" if between else ""}
    return {**sizes, "eye": "", "subject": "", "visit": ""}


def _head(data: bytes) -> Any:
    """Parse the header."""
    from nibabel import Nifti1Header, Nifti2Header

    first = _first(data)
    kind: Any = Nifti1Header if _is_1(first) else Nifti2Header
    return kind(first[: kind.template_dtype.itemsize], check=False)  # a check would mend, and talk


def _first(data: bytes) -> bytes:
    """Return a file's first bytes, unpacked."""
    return zlib.decompressobj(31).decompress(data[:MOST_HEAD_BYTES], HEAD_BYTES) if data.startswith(GZIP) else data


def _is_1(first: bytes) -> bool:
    return first[344:348] == b"n+1\0"


def _matches(data: bytes) -> bool:
    try:
        first = _first(data[:MOST_HEAD_BYTES])
    except zlib.error:
        return False
    return any(first[at : at + len(mark)] == mark for mark, at in MARKS.items())


NIFTI = Container(
    "NIfTI",
    (".nii", ".nii.gz"),
    _matches,
    _Nifti,
    needs=("nibabel",),
    extra="oct",
    guarded=True,
    header=read_header,
    asked=True,
)
