"""Zeiss's `.img` (a cube of Cirrus, exported as raw data): the bytes of B-scans and no header.

The length alone tells which of the two cubes it is, 128 B-scans of 512 columns or 200 of 200, each 1024 px high; any
other length is no image. B-scans are stored turned by 180 degrees, and come in the file's order. Person, eye and date
stand in the name that Cirrus gives, which `path_pattern` reads.
"""

import numpy as np

from visionfm.images.containers.container import Container, Header, Opened, Upright
from visionfm.images.pixels import Pixels

HEIGHT = 1024
CUBES = {HEIGHT * width * scans: (scans, width) for scans, width in ((128, 512), (200, 200))}


class _Cube(Opened):
    """A cube; its values are a view of the file's bytes."""

    def __init__(self, data: bytes) -> None:
        """Take the size from the length."""
        self.frames, self.width = CUBES[len(data)]
        self.stored_FHW = np.frombuffer(data, np.uint8).reshape(self.frames, HEIGHT, self.width)
        self.frame = 0

    def header(self) -> Header:
        """Return the size of a B-scan."""
        return Header(self.width, HEIGHT, "L")

    def seek(self, frame: int) -> None:
        """Choose a B-scan."""
        self.frame = frame

    def load(self, shrink_to_px: int | None) -> Upright:
        """Return the size: nothing is to be decoded."""
        return Upright(self.width, HEIGHT, 1)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the chosen B-scan."""
        return np.repeat(self.stored_FHW[self.frame, ::-1, ::-1, None], 3, axis=2)


IMG = Container("IMG", (".img",), lambda data: len(data) in CUBES, _Cube, asked=True)
