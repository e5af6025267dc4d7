"""Image files to uint8 RGB, or a reason why not: the only place where pixels are decoded.

Reads the formats of `containers` by content, within a pixel limit taken from the header. Nothing is guessed:
what cannot be read rightly is refused by a reason from REASONS. Equal bytes give equal arrays, in any worker. ICC
profiles are not applied, and no metadata but the orientation is used. Shapes: H/W px, C = 3 (RGB).
"""

import errno
import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from visionfm.errors import CannotReadNow, DataError, Problems, cannot_read_now, is_passing
from visionfm.images.containers import CONTAINERS, Container, container_of
from visionfm.images.containers.container import Header, Opened, Refused
from visionfm.images.containers.foreign import name_of_foreign
from visionfm.images.containers.slices import Pictures
from visionfm.images.exposure import remark
from visionfm.images.guarded import guarded
from visionfm.images.identity import file_id, file_path, frame_of
from visionfm.images.pixels import Pixels
from visionfm.images.regular import NotRegular
from visionfm.images.settings import Frames, Reading, chosen_frames
from visionfm.images.thumbnail import DECODE_PX, thumbnail
from visionfm.images.whole import read_whole
from visionfm.runtime.progress import track

ALLOWED_SUFFIXES = frozenset(suffix for one in CONTAINERS if not one.asked for suffix in one.suffixes)
ASKED_SUFFIXES = frozenset(suffix for one in CONTAINERS if one.asked for suffix in one.suffixes)
KNOWN = f"{', '.join(one.name for one in CONTAINERS[:-1])} or {CONTAINERS[-1].name}"
log = logging.getLogger("visionfm")
Jpeg = bytes  # the name of the type is that of a field
_last = threading.local()  # the volume that a thread read last
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
    "not_an_image": (KNOWN, "convert it to PNG or TIFF, or remove it"),
    "too_large": ("an image within the limit", "downscale it, or raise max_megapixels of the dataset"),
    "multi_frame": ("one image in the file", "set `frame: 0` (or another) of the dataset, or split the file"),
    "no_frame": ("a file that has the frame asked for", "correct `frame` of the dataset"),
    "truncated": ("a whole file", "copy the file again from its source"),
    "unreadable": ("a valid image file", "copy the file again from its source, or convert it"),
    "too_bright": ("16-bit pixels within `bits`", "correct `bits` of the dataset"),
    "unsupported_mode": ("8- or 16-bit grey, RGB, CMYK or palette pixels", "convert it to 8- or 16-bit PNG"),
}


class ImageFacts(NamedTuple):
    """What is known of one image file; `status` is `ok` or `reason: what was found`, the reason a key of REASONS.

    `image_id` is the sha256 of the bytes in hex, empty where they could not be read; `width` and `height` are pixels
    after the EXIF rotation (as the header has them for a refused image, 0 where unknown); `mode` is Pillow's, before
    conversion; `frames` counts images in the file; `orientation` is the EXIF rotation, which 1 is none of; `note` says
    where a readable image uses little of its range, or its file ends in zeros; `thumbnail` is a small grey JPEG.
    """

    image_id: str
    width: int
    height: int
    mode: str
    frames: int
    bytes: int
    status: str
    orientation: int = 1
    note: str | None = None
    thumbnail: Jpeg | None = None


class Stored(NamedTuple):
    """Pixels as Pillow loaded them, unconverted, and the file's own orientation; a TIFF is upright already.

    `container` is that of the picture whose bytes are `data`: of a folder of slices, one of them.
    """

    image: Image.Image
    container: Container
    orientation: int
    data: bytes


class StoredFile:
    """A file opened for the numbers that it stores, as masks need them; of a volume one slice after another."""

    def __init__(self, data: bytes, where: str) -> None:
        """Parse the header; DataError, which names `where`, for what is no such file."""
        self.data, self.where = data, where
        try:
            self.opened, self.container = _open(data)
        except Refused as refused:
            raise _unusable(refused, where) from refused

    @property
    def frames(self) -> int:
        """Return how many images are in it."""
        return self.opened.frames

    def read(self, frame: int | None, max_megapixels: float) -> Stored:
        """Return one of its images; with None its only one. DataError where it cannot be read."""
        opened = self.opened
        try:
            _choose(opened, Reading(frame=frame, max_megapixels=max_megapixels))
            turn = opened.load(None).orientation
            image = opened.numbers()
        except Refused as refused:
            raise _unusable(refused, self.where) from refused
        data = opened.own if isinstance(opened, Pictures) else self.data
        container = (container_of(data) if isinstance(opened, Pictures) else None) or self.container
        if image is None:
            raise DataError(
                "no mask is kept in such a file",
                expected="PNG, TIFF, NIfTI, .npy, .npz or a folder of PNG or TIFF",
                found=container.name,
                where=self.where,
            )
        return Stored(image, container, turn, data)


class Inspected(NamedTuple):
    """The facts of an image, and which frame of its file it is; None where the file is one image, or cannot be read."""

    frame: int | None
    facts: ImageFacts


def inspect(path: Path, reading: Reading) -> ImageFacts:
    """Read one file once, hash it, decode it to its last byte; never raises for what the file is or holds.

    CannotReadNow where the system does not give it, DataError where a library for its format is not installed; both say
    nothing of the file. A guarded format is read in a process of its own.
    """
    return inspect_frames(path, reading, None)[0].facts


def inspect_frames(path: Path, reading: Reading, frames: Frames | None) -> list[Inspected]:
    """Do what `inspect` does for those frames of a file that are images of their own; None: the file is one image."""
    facts = ImageFacts("", 0, 0, "", 0, 0, "ok")
    try:
        data = _read(path)
        facts = facts._replace(image_id=hashlib.sha256(data).hexdigest(), bytes=len(data))
        container = container_of(data)
        if container is None or not container.guarded:
            return _inspected(data, facts, reading, frames)
        container.require()
        return guarded(_inspected_alone, path, facts, reading, frames, file_bytes=len(data))
    except Refused as refused:
        return [Inspected(None, facts._replace(status=str(refused)))]


def _inspected_alone(path: Path, facts: ImageFacts, reading: Reading, frames: Frames | None) -> list[Inspected]:
    """Return the facts of a file, in a process that may have no more memory than a file may take."""
    try:
        return _inspected(_read(path), facts, reading, frames)
    except CannotReadNow as error:
        if not isinstance(error.__cause__, MemoryError):
            raise
        return [Inspected(None, facts._replace(status=str(Refused("too_large", "more memory than a file may take"))))]


def _inspected(data: bytes, facts: ImageFacts, reading: Reading, frames: Frames | None) -> list[Inspected]:
    """Return the facts of a file's bytes."""
    try:
        image = _open(data)[0]
    except Refused as refused:
        return [Inspected(None, facts._replace(status=str(refused)))]
    if frames is None or image.frames == 1:
        return [Inspected(None, _decoded(image, facts, reading))]
    chosen = chosen_frames(frames, image.frames)
    return [Inspected(one, _decoded(image, facts, reading.for_frame(one))) for one in chosen]


def _decoded(image: Opened, facts: ImageFacts, reading: Reading) -> ImageFacts:
    """Return the facts of the frame that a reading means, decoded to its last byte."""
    try:
        facts = _with_header(facts, image.header())._replace(frames=image.frames)
        _choose(image, reading)
        facts = _with_header(facts, image.header())
        # A small scale: entropy decoding, where damage shows, is complete all the same, at a quarter of the time.
        width, height, turn = image.load(shrink_to_px=DECODE_PX)
        facts = facts._replace(width=width, height=height, orientation=turn)
        pixels_HWC = image.rgb(reading.bits)
        notes = (remark(pixels_HWC, sixteen_bits=facts.mode.startswith("I")), image.note())
        note = "; ".join(note for note in notes if note) or None
        facts = facts._replace(note=note, thumbnail=thumbnail(pixels_HWC))
    except Refused as refused:
        return facts._replace(status=str(refused))
    return facts


def usable(root: Path, paths: Sequence[str], reading: Reading, *, skip: bool, do: str) -> list[tuple[str, ImageFacts]]:
    """Return the images below a folder that can be used, with their facts; at least one.

    DataError listing the others, or, where they are to be skipped, a line of the log for each; `do` says what helps.
    """
    problems = Problems(DataError, f"images of {root}")
    found = []
    for path in track(paths, total=len(paths), what="index"):
        facts = inspect(root / path, reading)
        if facts.status == "ok":
            found.append((path, facts))
        else:
            problems.add(f"{path}: {facts.status}")
    if not skip:
        problems.raise_if_any(do=do)
    for problem in problems:
        log.warning("left out: %s", problem)
    if not found:
        raise DataError("no usable image", expected="at least one", found="none", where=root)
    return found


def decode(data: bytes, reading: Reading, *, target_px: int | None, exact: bool, where: object) -> Pixels:
    """Decode an image file's bytes to uint8 (H, W, 3) RGB in [0, 255], EXIF orientation applied.

    16-bit grey is scaled over its full range, or that of the reading's `bits`; alpha is composited on black. With
    `target_px` and not `exact`, a much larger JPEG is decoded at a reduced scale whose sides stay at least
    SHRINK_MARGIN * target_px.
    Raises DataError, which names `where`, for anything that cannot be used.
    """
    try:
        image = _open(data)[0]
        _choose(image, reading)
        image.load(None if exact or target_px is None else int(np.ceil(target_px * SHRINK_MARGIN)))
        return image.rgb(reading.bits)
    except Refused as refused:
        raise _unusable(refused, where) from refused


def read_checked(
    root: Path, path: str, image_id: str, reading: Reading, *, target_px: int | None = None, exact: bool = False
) -> Pixels:
    """Return the image of a table's row, as `decode` does; DataError where its file is not the one that was indexed."""
    where = root / file_path(path, image_id)
    if frame_of(image_id) is not None:
        try:
            volume, reading = _volume(root, path, image_id), reading.for_image(image_id)
            _choose(volume, reading)
            volume.load(None)
            return volume.rgb(reading.bits)
        except Refused as refused:
            raise _unusable(refused, where) from refused
    content = checked_bytes(root, path, image_id)
    return decode(content, reading.for_image(image_id), target_px=target_px, exact=exact, where=where)


def _volume(root: Path, path: str, image_id: str) -> Opened:
    """Return a file of several images, opened: its frames are read one after another, the file once."""
    key = (str(root / file_path(path, image_id)), file_id(image_id))
    if getattr(_last, "key", None) != key:
        _last.key = _last.volume = None  # no two volumes at once in memory
        _last.volume = _open(checked_bytes(root, path, image_id))[0]
        _last.key = key
    opened: Opened = _last.volume
    return opened


def checked_bytes(root: Path, path: str, image_id: str) -> bytes:
    """Return the bytes of the file that a table's row means; DataError where they are not those that were indexed."""
    file = root / file_path(path, image_id)
    try:
        content = read_whole(file)
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(file, error) from error
        raise DataError(
            f"an image cannot be read: {error.strerror}",
            where=file,
            do="check the file, then run `visionfm index` again",
        ) from error
    found, expected = hashlib.sha256(content).hexdigest(), file_id(image_id)
    if found != expected:
        raise DataError(
            f"{path} changed since index",
            expected=f"sha256 {expected}",
            found=f"sha256 {found}",
            where=file,
            do="run `visionfm index` again",
        )
    return content


def _unusable(refused: Refused, where: object) -> DataError:
    expected, do = REASONS[refused.reason]
    return DataError("an image cannot be used", expected=expected, found=refused, where=where, do=do)


def _read(path: Path) -> bytes:
    """Return an image's bytes; a FIFO or a device is never opened, as that could wait for ever."""
    try:
        return read_whole(path, MAX_FILE_BYTES)
    except NotRegular as error:
        raise Refused("not_a_file", str(error.strerror)) from error
    except (OSError, MemoryError) as error:
        if is_passing(error):
            raise cannot_read_now(path, error) from error
        if path.is_symlink() and not path.exists():
            raise Refused("broken_link", "a link whose target is missing") from error
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise Refused("too_large", str(error.strerror)) from error
        if isinstance(error, FileNotFoundError):
            raise Refused("missing", "no such file") from error
        raise Refused("no_access", os.strerror(getattr(error, "errno", 0) or 0)) from error


def _open(data: bytes) -> tuple[Opened, Container]:
    """Parse the header."""
    if not data:
        raise Refused("empty", "0 bytes")
    container = container_of(data)
    if container is None:
        raise Refused("not_an_image", name_of_foreign(data) or "bytes of no known image format")
    container.require()
    return container.open(data), container


def _with_header(facts: ImageFacts, header: Header) -> ImageFacts:
    largest = 2**31 - 1  # a TIFF's header may claim more than the table's int32
    return facts._replace(width=min(header.width, largest), height=min(header.height, largest), mode=header.mode)


def _choose(image: Opened, reading: Reading) -> None:
    """Go to the frame asked for, and check its size, all from headers."""
    _check_size(image.header(), reading.max_megapixels)
    if reading.frame is None and image.frames > 1:
        raise Refused("multi_frame", f"{image.frames} images")
    if reading.frame == "enface":
        image.seek_enface()
        _check_size(image.header(), reading.max_megapixels)
    elif reading.frame is not None:
        if not 0 <= reading.frame < image.frames:
            raise Refused("no_frame", f"frame {reading.frame} asked for, {image.frames} in the file")
        image.seek(reading.frame)
        _check_size(image.header(), reading.max_megapixels)


def _check_size(header: Header, max_megapixels: float) -> None:
    width, height, _ = header
    if width < 1 or height < 1:
        raise Refused("unreadable", f"{width} x {height} pixels")
    if width * height > max_megapixels * 1e6:
        raise Refused("too_large", f"{width} x {height} pixels, over {max_megapixels:g} megapixels")
