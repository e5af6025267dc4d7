"""What a file format has to offer: a name, how its bytes begin, and a file of it, opened at its header.

A format that is added answers these questions in a file of its own and joins the list in `__init__.py`; whoever reads
images knows no format by name. Every method of an opened file raises nothing but `Refused`. H/W px, C = 3 (RGB).
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from visionfm.errors import CannotReadNow, DataError, cannot_read_now, is_passing
from visionfm.images.pixels import Pixels


class Refused(Exception):
    """An image that cannot be used, by a reason from `reading.REASONS`."""

    def __init__(self, reason: str, found: str) -> None:
        """`found` is what was met instead."""
        self.reason, self.found = reason, found
        super().__init__(f"{reason}: {found}")


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Turn whatever a library raises on hostile bytes into a reason, without its text: that may quote the file.

    CannotReadNow for errors of the system's own (memory, open files, disk), which say nothing of the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (Refused, CannotReadNow):
            raise
        except Exception as error:
            if is_passing(error):
                raise cannot_read_now(name, error) from error
            what = f"{name}, {type(error).__name__} in its structure or its pixels"
            raise Refused("unreadable", what) from error


class Header(NamedTuple):
    """What the header says of the frame chosen: its size as stored, in px, and the mode of its pixels."""

    width: int
    height: int
    mode: str


class Upright(NamedTuple):
    """The whole image's size in px once it is turned upright, and the EXIF orientation it was stored in (1: none)."""

    width: int
    height: int
    orientation: int

    @classmethod
    def turned(cls, width: int, height: int, orientation: int) -> "Upright":
        """Return the upright size of an image that is stored as `width` x `height`."""
        return cls(height, width, orientation) if orientation >= 5 else cls(width, height, orientation)


class Opened(ABC):
    """A file whose header was read; its first frame is chosen."""

    frames: int  # images in the file

    @abstractmethod
    def header(self) -> Header:
        """Return what is known of the chosen frame before a pixel is decoded."""

    @abstractmethod
    def seek(self, frame: int) -> None:
        """Choose another frame, counted from 0."""

    def seek_enface(self) -> None:
        """Choose the picture of the fundus that came with a volume; Refused where there is none."""
        raise Refused("no_frame", "no picture of the fundus in the file")

    @abstractmethod
    def load(self, shrink_to_px: int | None) -> Upright:
        """Decode the chosen frame to its last byte, where possible at a scale with sides of at least `shrink_to_px`."""

    @abstractmethod
    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the loaded frame, uint8 (H, W, 3) in [0, 255], upright; `bits` are what wider pixels use of theirs."""

    def numbers(self) -> Image.Image | None:
        """Return the loaded frame's numbers as the file holds them, unturned, for masks; None where no mask is kept."""
        return None

    def note(self) -> str | None:
        """Return what is odd about a file that decodes all the same; None where nothing is."""
        return None


class Container(NamedTuple):
    """A file format: `suffixes` with the dot, in small letters; `lossy` formats blur the borders of masks.

    `needs` are modules that are no part of a plain installation, and `extra` is what installs them. A `guarded` format
    is parsed by other people's native code: files are first read in a process of their own. `header` returns what a
    file says beside its pixels, by the format's names, and `eye`, `subject` and `visit` as tables have them; columns of
    a dataset can be read from it (`dicom.PatientID`). Files of an `asked` format, which may hold many other things, are
    images only where a dataset's `images` ends in their suffix. `beside` returns, from a file's bytes, the names of
    those that belong to it: they are read with it (`images/whole.py`).
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    open: Callable[[bytes], Opened]
    lossy: bool = False
    needs: tuple[str, ...] = ()
    extra: str = ""
    guarded: bool = False
    header: Callable[[Path], Mapping[str, str]] | None = None
    asked: bool = False
    beside: Callable[[bytes], list[str]] | None = None

    def missing(self) -> str | None:
        """Return what has to be installed to read this format here; None where nothing is missing. Imports nothing."""
        return None if all(find_spec(name) for name in self.needs) else f"install visionfm[{self.extra}]"

    def require(self) -> None:
        """Raise DataError where a module is missing: that says nothing of a file, and no index may remember it."""
        if (what := self.missing()) is not None:
            raise DataError(f"{self.name} cannot be read by this installation", do=f"{what}, then run the same again")
