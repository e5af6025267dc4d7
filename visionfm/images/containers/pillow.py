"""Formats that Pillow decodes: its plugins are called directly, and whatever they raise on hostile bytes is a reason.

Image.open would apply Pillow's own pixel limit and warn; ours was checked against the header before.
"""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from PIL import Image, ImageFile

from visionfm.errors import cannot_read_now
from visionfm.images.containers.container import Header, Opened, Refused, Upright
from visionfm.images.pixels import Pixels, orientation, oriented, to_rgb, too_bright, unsupported

_PILLOWS_OWN_LIMIT = Image.MAX_IMAGE_PIXELS or 0  # as it is while no thread has lifted it
ZEROS = 16  # bytes: so many at the end of a compressed file are no chance
NOTED = 0.02  # of the file's bytes: as many zeros at its end are told
_pillow_limit = threading.Lock()


class PillowImage(Opened):
    """A file that one of Pillow's plugins reads."""

    name: ClassVar[str]
    plugin: ClassVar[Any]  # takes a file, gives an ImageFile

    def __init__(self, data: bytes) -> None:
        """Parse the header."""
        self.data = data
        self.image: ImageFile.ImageFile | None = None
        with self._blame():
            self.image = type(self).plugin(io.BytesIO(data))
            self.frames = self.count_frames()

    @property
    def opened(self) -> ImageFile.ImageFile:
        """Pillow's image."""
        assert self.image is not None, "a file that cannot be opened is refused"
        return self.image

    def header(self) -> Header:
        """Return the size as stored, and Pillow's mode."""
        return Header(self.opened.width, self.opened.height, self.opened.mode)

    def seek(self, frame: int) -> None:
        """Choose a frame."""
        with self._blame():
            self.opened.seek(frame)

    def load(self, shrink_to_px: int | None) -> Upright:
        """Decode every byte in place; `verify()` would pass nearly every truncated JPEG."""
        with self._blame(), _room_for(self.opened.width * self.opened.height):
            upright = self.decode(shrink_to_px)
        if what := unsupported(self.opened):
            raise Refused("unsupported_mode", f"{self.name}, {what}")
        return upright

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the pixels as 8-bit RGB, turned upright."""
        with self._blame():
            if what := too_bright(self.opened, bits):
                raise Refused("too_bright", f"{self.name}, {what}")
            return oriented(to_rgb(self.opened, bits), orientation(self.opened))

    def numbers(self) -> Image.Image:
        """Return the pixels as Pillow loaded them; those of a TIFF are upright already."""
        return self.opened

    # --- what a format may do in its own way ------------------------------------------------------------------------

    def count_frames(self) -> int:
        """Return the number of images in the file, as its header tells (PNG, WebP, MPO)."""
        return int(getattr(self.opened, "n_frames", 1))

    def decode(self, shrink_to_px: int | None) -> Upright:
        """Load the pixels, at full size."""
        self.opened.load()
        return Upright.turned(*self.opened.size, orientation(self.opened))  # a PNG may tell it after its pixels

    def ends_early(self) -> bool:
        """Say whether the file stops before its format says that it should; asked only after decoding has failed."""
        return False

    def note(self) -> str | None:
        """Tell of many zeros at the file's end: what a copy that was cut short leaves, and black pixels may be."""
        zeros, size = self.zeros_at_end(), len(self.data)
        if zeros < max(ZEROS, NOTED * size):
            return None
        return f"its last {zeros / size:.0%} are zeros: black pixels, or a copy that was cut short"

    def zeros_at_end(self) -> int:
        """Count the zero bytes at the file's end."""
        return len(self.data) - len(self.data.rstrip(b"\0"))

    @contextmanager
    def _blame(self) -> Iterator[None]:
        """Turn whatever Pillow raises on hostile bytes into a reason."""
        try:
            yield
        except Refused:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise Refused("too_large", f"{self.name} over the decoder's own limit") from error
        except MemoryError as error:
            raise cannot_read_now(f"{self.name}, {len(self.data)} bytes", error) from error
        except Exception as error:  # Pillow's parsers raise nearly every built-in class on damaged files
            # Only the decoder's own texts are kept: errors that it wraps may quote the file's metadata, or an address.
            static = isinstance(error, OSError | SyntaxError) and str(error) != str(error.__cause__)
            text = str(error) if static else "damaged structure"
            text = re.sub(r"<[^>]*>|[^ -~]", "", text)[:120].strip() or type(error).__name__
            if "truncated" in text.lower() or self.ends_early():
                raise Refused("truncated", f"{self.name}, {text}") from error
            foreign = re.match(r"unknown pixel mode|cannot handle|unsupported", text, re.IGNORECASE)
            raise Refused("unsupported_mode" if foreign else "unreadable", f"{self.name}, {text}") from error


@contextmanager
def _room_for(pixels: int) -> Iterator[None]:
    """Lift Pillow's process-wide pixel limit to an image already checked against ours; one such image at a time."""
    if Image.MAX_IMAGE_PIXELS is None or pixels <= min(_PILLOWS_OWN_LIMIT, Image.MAX_IMAGE_PIXELS):
        yield
        return
    with _pillow_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max(before or pixels, pixels)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
