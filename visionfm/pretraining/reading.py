"""One image as pretraining reads it: from its original file, or from a pack, equal pixels either way.

Every read checks what it got: the sha256 of a file against the index, the CRC-32 of a pack's bytes. Imports no torch.
H/W px, C = 3 (RGB).
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from visionfm.errors import ArtifactError, cannot_read_now, is_passing
from visionfm.images.pixels import Pixels
from visionfm.images.reading import read_checked
from visionfm.pretraining.settings import ImageSetSettings
from visionfm.pretraining.shrinking import shrunk, unpacked


class Place(NamedTuple):
    """Where a pack holds an image: the file, and which bytes of it with which CRC-32."""

    file: str
    at: int
    bytes: int
    crc32: int


class Item(NamedTuple):
    """An image; `width` and `height` are what its pixels have after shrinking."""

    dataset: str
    path: str  # POSIX, relative to the dataset's root
    image_id: str
    modality: str
    width: int
    height: int
    place: Place | None


@dataclass(frozen=True)
class Files:
    """Where a dataset's originals lie and how they are read."""

    root: Path
    settings: ImageSetSettings


def read_pixels(item: Item, files: Mapping[str, Files], need_px: int | None) -> Pixels:
    """Return image_HWC of an item: of its own size, or of a smaller one whose shorter side is `need_px` or more.

    `need_px` None reads every pixel. Raises DataError for a file that changed or cannot be read, ArtifactError for a
    damaged pack.
    """
    if item.place is not None:
        return _from_pack(item, item.place)
    its = files[item.dataset]
    short_px = its.settings.pack_px
    target_px = need_px if short_px is None else short_px
    image_HWC = read_checked(
        its.root, item.path, item.image_id, its.settings, target_px=target_px, exact=target_px is None
    )
    return image_HWC if short_px is None else shrunk(image_HWC, (item.width, item.height))


def _from_pack(item: Item, place: Place) -> Pixels:
    try:
        with Path(place.file).open("rb") as handle:
            handle.seek(place.at)
            content = handle.read(place.bytes)
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(place.file, error) from error
        raise _damaged(place, error.strerror or str(error)) from error
    if len(content) != place.bytes or zlib.crc32(content) != place.crc32:
        raise _damaged(place, f"the bytes of {item.path} do not match their checksum")
    return unpacked(content, item.width, item.height)


def _damaged(place: Place, why: str) -> ArtifactError:
    folder = Path(place.file).parent
    return ArtifactError(
        "a pack is damaged",
        expected="the file as it was written",
        found=why,
        where=place.file,
        do=f"`visionfm forget {folder}`, then run again",
    )
