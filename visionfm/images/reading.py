"""Image files to uint8 RGB, or a reason why not: the only place where pixels are decoded.

Reads JPEG, PNG, TIFF, BMP, WebP and GIF by content, within a pixel limit taken from the header. Nothing is guessed:
what cannot be read rightly is refused by a reason from REASONS. Equal bytes give equal arrays, in any worker. ICC
profiles are not applied, and no metadata but the orientation is used. Shapes: H/W px, C = 3 (RGB).
"""

import hashlib
import io
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from visionfm.errors import DataError
from visionfm.images import formats
from visionfm.images.pixels import Pixels, orientation, oriented, to_rgb, unsupported

ALLOWED_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif"})
MAX_FILE_BYTES = 4 << 30
# A JPEG is decoded at 1/2, 1/4 or 1/8 as long as both sides keep this many times the target: measured on 4288 x 2848
# fundus images, features stay at cosine 0.9999 to the exact path (bench/decode.py).
SHRINK_MARGIN = 1.5
REASONS = {  # reason: (expected, what to do)
    "missing": ("a file", "index the dataset again, or restore the file"),
    "broken_link": ("a link to a file", "restore the link's target, or remove the link"),
    "not_a_file": ("a regular file", "remove it from the dataset's folder"),
    "no_access": ("a file that can be read", "check its permissions and the disk"),
    "empty": ("an image", "copy the file again from its source"),
    "dicom": ("JPEG, PNG, TIFF, BMP, WebP or GIF", "convert it to PNG or TIFF and de-identify it first"),
    "not_an_image": ("JPEG, PNG, TIFF, BMP, WebP or GIF", "convert it to PNG or TIFF, or remove it"),
    "too_large": ("an image within the limit", "downscale it, or raise max_megapixels of the dataset"),
    "multi_frame": ("one image in the file", "set `frame: 0` (or another) of the dataset, or split the file"),
    "no_frame": ("a file that has the frame asked for", "correct `frame` of the dataset"),
    "truncated": ("a whole file", "copy the file again from its source"),
    "unreadable": ("a valid image file", "copy the file again from its source, or convert it"),
    "unsupported_mode": ("8- or 16-bit grey, RGB, CMYK or palette pixels", "convert it to 8- or 16-bit PNG"),
}
_TIFF_EXTENTS = ((273, 279), (324, 325))  # (offsets, byte counts) of strips, of tiles
_OPENERS = {
    "JPEG": jpeg_factory,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
}
_PILLOWS_OWN_LIMIT = Image.MAX_IMAGE_PIXELS or 0  # as it is while no thread has lifted it
_pillow_limit = threading.Lock()


class ImageFacts(NamedTuple):
    """What is known of one image file; `status` is `ok` or `reason: what was found`, the reason a key of REASONS.

    `image_id` is the sha256 of the bytes in hex, empty where they could not be read; `width` and `height` are pixels
    after the EXIF rotation (as the header has them for a refused image, 0 where unknown); `mode` is Pillow's, before
    conversion; `frames` counts images in the file; `orientation` is the EXIF rotation, which 1 is none of.
    """

    image_id: str
    width: int
    height: int
    mode: str
    frames: int
    bytes: int
    status: str
    orientation: int = 1


class _Refused(Exception):
    """An image that cannot be used, by a reason from REASONS."""

    def __init__(self, reason: str, found: str) -> None:
        self.reason, self.found = reason, found
        super().__init__(f"{reason}: {found}")


def inspect(path: Path, *, frame: int | None, max_megapixels: float) -> ImageFacts:
    """Read one file once, hash it, decode it to its last byte; never raises for what the file is or holds.

    `frame` says which image of a file with several is meant; None allows files with one image only.
    """
    facts = ImageFacts("", 0, 0, "", 0, 0, "ok")
    try:
        data = _read(path)
        facts = facts._replace(image_id=hashlib.sha256(data).hexdigest(), bytes=len(data))
        image, name = _open(data)
        facts = _with_header(facts, image)._replace(frames=_count_frames(image, name, data))
        _choose(image, name, data, facts.frames, frame, max_megapixels)
        facts = _with_header(facts, image)
        # 1/8 scale: entropy decoding, where damage shows, is complete all the same, at a quarter of the time
        width, height = image.size
        turn = _load(image, name, data, shrink_to_px=1)
        if name != "JPEG":
            width, height = image.size
        turned = turn >= 5 and name != "TIFF"
        facts = facts._replace(width=height if turned else width, height=width if turned else height, orientation=turn)
    except _Refused as refused:
        return facts._replace(status=str(refused))
    return facts


def decode(
    data: bytes, *, frame: int | None, max_megapixels: float, target_px: int | None, exact: bool, where: str
) -> Pixels:
    """Decode an image file's bytes to uint8 (H, W, 3) RGB in [0, 255], EXIF orientation applied.

    16-bit grey is scaled over its full range; alpha is composited on black. With `target_px` and not `exact`, a much
    larger JPEG is decoded at a reduced scale whose sides stay at least SHRINK_MARGIN * target_px.
    Raises DataError, which names `where`, for anything that cannot be used.
    """
    try:
        image, name = _open(data)
        _choose(image, name, data, _count_frames(image, name, data), frame, max_megapixels)
        shrink_to_px = None if exact or target_px is None else int(np.ceil(target_px * SHRINK_MARGIN))
        _load(image, name, data, shrink_to_px)
        with _blame(name, data, image):
            return oriented(to_rgb(image), orientation(image))
    except _Refused as refused:
        expected, do = REASONS[refused.reason]
        raise DataError("an image cannot be used", expected=expected, found=refused, where=where, do=do) from refused


def stored_pixels(data: bytes, *, max_megapixels: float, where: str) -> tuple[Image.Image, str, int]:
    """Return a single-image file as Pillow loads it, unconverted, with its format and its own EXIF orientation.

    A TIFF is upright already. Raises DataError, which names `where`.
    """
    try:
        image, name = _open(data)
        _choose(image, name, data, _count_frames(image, name, data), None, max_megapixels)
        return image, name, _load(image, name, data, None)
    except _Refused as refused:
        expected, do = REASONS[refused.reason]
        raise DataError("an image cannot be used", expected=expected, found=refused, where=where, do=do) from refused


def _read(path: Path) -> bytes:
    """Return a regular file's bytes; a FIFO or a device is never opened, as that could wait for ever."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
            raise _Refused("not_a_file", f"a {kinds.get(stat.S_IFMT(info.st_mode), 'device')}")
        if info.st_size > MAX_FILE_BYTES:
            raise _Refused("too_large", f"a file of {info.st_size} bytes, over {MAX_FILE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        if path.is_symlink() and not path.exists():
            raise _Refused("broken_link", "a link whose target is missing") from error
        if isinstance(error, FileNotFoundError):
            raise _Refused("missing", "no such file") from error
        raise _Refused("no_access", os.strerror(error.errno or 0)) from error


def _open(data: bytes) -> tuple[ImageFile.ImageFile, str]:
    """Parse the header. Plugins are called directly: Image.open would apply Pillow's own pixel limit and warn."""
    if not data:
        raise _Refused("empty", "0 bytes")
    if formats.is_dicom(data):
        raise _Refused("dicom", "DICOM, which may name a person")
    name = formats.detect(data)
    if name is None:
        other = formats.name_of_other(data)
        raise _Refused("not_an_image", other or "bytes of no known image format")
    with _blame(name, data):
        return _OPENERS[name](io.BytesIO(data)), name


def _with_header(facts: ImageFacts, image: Image.Image) -> ImageFacts:
    largest = 2**31 - 1  # a TIFF's header may claim more than the table's int32
    return facts._replace(width=min(image.width, largest), height=min(image.height, largest), mode=image.mode)


def _count_frames(image: Image.Image, name: str, data: bytes) -> int:
    if name == "TIFF":
        return formats.count_tiff_frames(data)
    if name == "GIF":
        return max(1, formats.count_gif_frames(data))
    return int(getattr(image, "n_frames", 1))  # from the header in PNG, WebP and MPO


def _choose(
    image: ImageFile.ImageFile, name: str, data: bytes, frames: int, frame: int | None, max_megapixels: float
) -> None:
    """Go to the frame asked for, and check its size, all from headers."""
    _check_size(image, max_megapixels)
    if frame is None and frames > 1:
        raise _Refused("multi_frame", f"{frames} images")
    if frame is not None:
        if not 0 <= frame < frames:
            raise _Refused("no_frame", f"frame {frame} asked for, {frames} in the file")
        with _blame(name, data, image):
            image.seek(frame)
        _check_size(image, max_megapixels)


def _check_size(image: Image.Image, max_megapixels: float) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise _Refused("unreadable", f"{width} x {height} pixels")
    if width * height > max_megapixels * 1e6:
        raise _Refused("too_large", f"{width} x {height} pixels, over {max_megapixels:g} megapixels")


def _load(image: ImageFile.ImageFile, name: str, data: bytes, shrink_to_px: int | None) -> int:
    """Decode every byte in place, and return the file's EXIF orientation, which loading a TIFF applies.

    `verify()` would pass nearly every truncated JPEG.
    """
    with _blame(name, data, image), _room_for(image.width * image.height):
        before = orientation(image) if name == "TIFF" else 1
        if shrink_to_px is not None and isinstance(image, JpegImageFile):
            image.draft(None, (shrink_to_px, shrink_to_px))
        image.load()
        turn = before if name == "TIFF" else orientation(image)  # a PNG may tell it after its pixels
    if what := unsupported(image):
        raise _Refused("unsupported_mode", f"{name}, {what}")
    return turn


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


@contextmanager
def _blame(name: str, data: bytes, image: Image.Image | None = None) -> Iterator[None]:
    """Turn whatever Pillow raises on hostile bytes into a reason."""
    try:
        yield
    except _Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Refused("too_large", f"{name} over the decoder's own limit") from error
    except Exception as error:  # Pillow's parsers raise nearly every built-in class on damaged files
        # Only the decoder's own texts are kept: errors that it wraps may quote the file's metadata, or an address.
        static = isinstance(error, OSError | SyntaxError) and str(error) != str(error.__cause__)
        text = str(error) if static else "damaged structure"
        text = re.sub(r"<[^>]*>|[^ -~]", "", text)[:120].strip() or type(error).__name__
        if "truncated" in text.lower() or formats.ends_early(data, name, _tiff_end(image)):
            raise _Refused("truncated", f"{name}, {text}") from error
        foreign = re.match(r"unknown pixel mode|cannot handle|unsupported", text, re.IGNORECASE)
        raise _Refused("unsupported_mode" if foreign else "unreadable", f"{name}, {text}") from error


def _tiff_end(image: Image.Image | None) -> int:
    """Return the offset after the last strip or tile that a TIFF's directory names, 0 where unknown."""
    ends = [0]
    if isinstance(image, TiffImageFile):
        for offset_tag, count_tag in _TIFF_EXTENTS:
            offsets, counts = image.tag_v2.get(offset_tag, ()), image.tag_v2.get(count_tag, ())
            if isinstance(offsets, tuple) and isinstance(counts, tuple):
                pairs = zip(offsets, counts, strict=False)
                ends += [int(at) + int(size) for at, size in pairs if isinstance(at, int) and isinstance(size, int)]
    return max(ends)
