"""One image as pretraining reads it: from its original file, or from a pack, equal pixels either way.

Every read checks what it got: the sha256 of a file against the index, the CRC-32 of a pack's bytes. Imports no torch.
H/W px, C = 3 (RGB).
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from visionfm.errors import ArtifactError, DataError
from visionfm.images.pixels import Pixels
from visionfm.images.reading import decode
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
    content = _content(its.root / item.path, item)
    reading: dict[str, Any] = {
        "frame": its.settings.frame,
        "max_megapixels": its.settings.max_megapixels,
        "where": f"{item.dataset}/{item.path}",
    }
    if its.settings.pack_px is not None:
        return shrunk(content, (item.width, item.height), its.settings.pack_px, **reading)
    return decode(content, target_px=need_px, exact=need_px is None, **reading)


def _content(file: Path, item: Item) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"an image cannot be read: {error.strerror}",
            where=file,
            do="check the file, then run `visionfm index` again",
        ) from error
    if (found := hashlib.sha256(content).hexdigest()) != item.image_id:
        raise DataError(
            f"{item.path} changed since index",
            expected=f"sha256 {item.image_id}",
            found=f"sha256 {found}",
            where=file,
            do="run `visionfm index` again",
        )
    return content


def _from_pack(item: Item, place: Place) -> Pixels:
    try:
        with Path(place.file).open("rb") as handle:
            handle.seek(place.at)
            content = handle.read(place.bytes)
    except OSError as error:
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
