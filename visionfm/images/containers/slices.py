"""A folder of slices (1.png, 2.png, ..., 10.png): one volume, its frames in the order of the numbers in their names.

All have one size; a thumbnail or a photograph among them is a mistake that would stand as a slice.
"""

import re

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright
from visionfm.images.containers.gif_webp import GIF, WEBP
from visionfm.images.containers.jpeg_png_bmp import BMP, JPEG, PNG
from visionfm.images.containers.netpbm_jpeg2000 import JP2, PNM
from visionfm.images.containers.parts import is_joined, parted
from visionfm.images.containers.tiff import TIFF
from visionfm.images.pixels import Pixels

PICTURES = (JPEG, PNG, TIFF, WEBP, GIF, BMP, PNM, JP2)
SUFFIXES = frozenset(suffix for one in PICTURES for suffix in one.suffixes)


def natural(name: str) -> tuple[list[str | int], str]:
    """Return what orders names by the numbers in them: 2.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)], name


def open_picture(data: bytes, name: str) -> Opened:
    """Open one picture of a volume; Refused, with its name, where it is none or several."""
    container = next((one for one in PICTURES if one.matches(data)), None)
    if container is None:
        raise Refused("not_an_image", f"{name} in it is no picture")
    opened = container.open(data)
    if opened.frames != 1:
        raise Refused("multi_frame", f"{name} in it holds {opened.frames} images")
    return opened


class _Slices(Opened):
    """A folder whose pictures were opened at their headers."""

    def __init__(self, data: bytes) -> None:
        """Open all, and compare their sizes."""
        _, parts = parted(data)
        if not parts:
            raise Refused("empty", "a folder without pictures")
        self.slices = [open_picture(parts[name], name) for name in sorted(parts, key=natural)]
        sizes = {one.header()[:2] for one in self.slices}
        if len(sizes) > 1:
            raise Refused("unreadable", f"pictures of {len(sizes)} sizes in one folder: slices have one")
        self.frames = len(self.slices)
        self.seek(0)

    def header(self) -> Header:
        """Return the size of the chosen slice."""
        return self.chosen.header()

    def seek(self, frame: int) -> None:
        """Choose a slice."""
        self.chosen = self.slices[frame]

    def load(self, shrink_to_px: int | None) -> Upright:
        """Decode the chosen slice."""
        return self.chosen.load(shrink_to_px)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the chosen slice."""
        return self.chosen.rgb(bits)

    def note(self) -> str | None:
        """Tell what is odd about the chosen slice."""
        return self.chosen.note()


SLICES = Container("a folder of pictures", (), is_joined, _Slices, guarded=True)
