"""Arrays of NumPy: `.npy`, and `.npz` of one array. Their first axis counts the frames: (F, H, W) or (F, H, W, 3).

(H, W) and (H, W, 3) are one image; whole numbers of 8 or 16 bits, without sign. Since arrays are many things beside
images (points, features), a folder's are images only where the dataset's `images` asks for them by suffix.
"""

import io
import zipfile
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright, blamed
from visionfm.images.pixels import Pixels, eight_bits

MARK, ZIP_MARK = b"\x93NUMPY", b"PK\x03\x04"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class _Stack(Opened):
    """An array whose header was read; its values are a view of the file's bytes."""

    name: ClassVar[str] = "NPY"

    def __init__(self, data: bytes) -> None:
        """Read the header, and check it against the length of the file."""
        with blamed(self.name):
            array = self._array(self._content(data))
        colours = array.ndim >= 3 and array.shape[-1] == 3
        if array.ndim == 3 and not colours and array.shape[-1] <= 4:  # channels that are no colours, not a thin slice
            raise Refused("unsupported_mode", f"{self.name}, an array of shape {_shape(array)}")
        frames = array if array.ndim == 3 + colours else array[None]
        if frames.ndim != 3 + colours:
            raise Refused("unsupported_mode", f"{self.name}, an array of shape {_shape(array)}")
        self.stack = frames
        self.frames = len(frames)
        self.frame = 0
        if not self.frames:
            raise Refused("empty", f"{self.name}, no frame")

    def header(self) -> Header:
        """Return size and mode, as Pillow would name it."""
        height, width = self.stack.shape[1:3]
        wide = self.stack.dtype.itemsize > 1
        return Header(width, height, "RGB" if self.stack.ndim == 4 else "I;16" if wide else "L")

    def seek(self, frame: int) -> None:
        """Choose a frame."""
        self.frame = frame

    def load(self, shrink_to_px: int | None) -> Upright:
        """Return the size: nothing is to be decoded."""
        height, width = self.stack.shape[1:3]
        return Upright(width, height, 1)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the frame; 16 bits by their full range, or that of `bits`."""
        values = np.asarray(self.stack[self.frame])
        full = 8 * values.dtype.itemsize
        if bits is not None and full == 16:
            full = bits
            if (brightest := int(values.max(initial=0))) >= 2**bits:
                raise Refused("too_bright", f"{self.name}, a pixel of {brightest}, over {2**bits - 1}")
        shown = eight_bits(values, full)
        return shown if shown.ndim == 3 else np.repeat(shown[:, :, None], 3, axis=2)

    def numbers(self) -> Image.Image:
        """Return the frame's numbers."""
        values = np.ascontiguousarray(self.stack[self.frame])
        return Image.fromarray(values.astype(values.dtype.newbyteorder("=")))

    def _content(self, data: bytes) -> bytes:
        """Return the bytes of the one array."""
        return data

    def _array(self, content: bytes) -> npt.NDArray[Any]:
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise Refused("unsupported_mode", f"{self.name}, version {version[0]} of its format")
        shape, by_column, kind = _HEADERS[version](file)
        if kind.kind != "u" or kind.itemsize > 2:
            raise Refused("unsupported_mode", f"{self.name}, values of type {kind.name}, not uint8 or uint16")
        start, promised = file.tell(), prod(shape) * kind.itemsize
        if len(content) - start < promised:
            raise Refused("truncated", f"{self.name}, {len(content) - start} bytes of values, {promised} promised")
        values = np.frombuffer(content, kind, prod(shape), start)
        return values.reshape(shape, order="F" if by_column else "C")


class _Archive(_Stack):
    """A zip archive of one array."""

    name = "NPZ"

    def _content(self, data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.namelist()
            if len(members) != 1:
                raise Refused("unsupported_mode", f"{self.name}, {len(members)} arrays in one file")
            return archive.read(members[0])


def _shape(array: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape)) or "none"


def _is_archive(data: bytes) -> bool:
    """Tell an archive of arrays from any other zip file, by the name of its first member."""
    name = data[30 : 30 + int.from_bytes(data[26:28], "little")]
    return data.startswith(ZIP_MARK) and name.endswith(b".npy")


NPY = Container("NPY", (".npy",), lambda data: data.startswith(MARK), _Stack, asked=True)
NPZ = Container("NPZ", (".npz",), _is_archive, _Archive, asked=True, guarded=True)
