"""A folder of slices (1.png, 2.png, ..., 10.png): one volume, its frames in the order of the numbers in their names.

All have one size; a thumbnail or a photograph among them is a mistake that would stand as a slice.
"""

import re

from PIL import Image

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright, blamed
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
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def open_picture(data: bytes, name: str) -> Opened:
    """Open one picture of a volume; Refused, with its name, where it is none or several."""
    container = next((one for one in PICTURES if one.matches(data)), None)
    if container is None:
        raise Refused("not_an_image", f"{name} in it is no picture")
    opened = container.open(data)
    if opened.frames != 1:
        raise Refused("multi_frame", f"{name} in it holds {opened.frames} images")
    return opened


class Pictures(Opened):
    """A volume whose frames are pictures of their own, opened one by one; decoded is the chosen one alone.

    Who inherits gives `parts`, the bytes of each picture by its name, and `names`, those of the frames in order.
    """

    parts: dict[str, bytes]
    names: list[str]
    own: bytes  # of the chosen picture

    def header(self) -> Header:
        """Return the size of the chosen picture."""
        return self.chosen.header()

    def seek(self, frame: int) -> None:
        """Choose a frame."""
        self.own = self.parts[self.names[frame]]
        self.chosen = open_picture(self.own, self.names[frame])

    def load(self, shrink_to_px: int | None) -> Upright:
        """Decode the chosen picture."""
        return self.chosen.load(shrink_to_px)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the chosen picture."""
        return self.chosen.rgb(bits)

    def numbers(self) -> Image.Image | None:
        """Return the chosen picture's numbers."""
        return self.chosen.numbers()

    def note(self) -> str | None:
        """Tell what is odd about the chosen picture."""
        return self.chosen.note()


class _Slices(Pictures):
    """A folder whose pictures were opened at their headers."""

    def __init__(self, data: bytes) -> None:
        """Open all, and compare their sizes."""
        with blamed("a folder of pictures"):
            _, self.parts = parted(data)
        if not self.parts:
            raise Refused("empty", "a folder without pictures")
        self.names = sorted(self.parts, key=natural)
        sizes = {open_picture(self.parts[name], name).header()[:2] for name in self.names}
        if len(sizes) > 1:
            raise Refused("unreadable", f"pictures of {len(sizes)} sizes in one folder: slices have one")
        self.frames = len(self.names)
        self.seek(0)


SLICES = Container("a folder of pictures", (), is_joined, _Slices, guarded=True)
