"""TIFF and BigTIFF, which may have several pages; directories are walked here, and every offset is checked.

Pillow's own count of pages is quadratic, and a chain of a million pages is a few megabytes.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL.TiffImagePlugin import TiffImageFile

from visionfm.images.containers.container import Container, Upright
from visionfm.images.containers.pillow import PillowImage
from visionfm.images.pixels import orientation

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FRAMES_COUNTED = 100_000  # no more are counted; an image file with more pages is as good as endless
TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # the others: 1
_EXTENTS = ((273, 279), (324, 325))  # (offsets, byte counts) of strips, of tiles


class _Tiff(PillowImage):
    name = "TIFF"
    plugin = TiffImageFile

    def count_frames(self) -> int:
        return count_tiff_frames(self.data)

    def decode(self, shrink_to_px: int | None) -> Upright:
        """Load the pixels; Pillow turns a TIFF upright while it does."""
        turn = orientation(self.opened)
        self.opened.load()
        return Upright(*self.opened.size, turn)

    def ends_early(self) -> bool:
        ends = [max(end, _values_end(self.data, at)) for at, end in _directories(self.data)]
        return max([self._pixels_end(), *ends]) > len(self.data)

    def _pixels_end(self) -> int:
        """Return the offset after the last strip or tile that the directory names, 0 where unknown."""
        ends = [0]
        if isinstance(self.image, TiffImageFile):
            for offset_tag, count_tag in _EXTENTS:
                offsets, counts = self.image.tag_v2.get(offset_tag, ()), self.image.tag_v2.get(count_tag, ())
                if isinstance(offsets, tuple) and isinstance(counts, tuple):
                    pairs = zip(offsets, counts, strict=False)
                    ends += [int(at) + int(size) for at, size in pairs if isinstance(at, int) and isinstance(size, int)]
        return max(ends)


def count_tiff_frames(data: bytes) -> int:
    """Count a TIFF's image directories, at most FRAMES_COUNTED; one past the end counts, as it was promised."""
    return sum(1 for _ in _directories(data))


class _Layout(NamedTuple):
    """How numbers stand in this TIFF: classic with 32-bit offsets, or BigTIFF with 64-bit ones."""

    first: int  # where the first directory's offset stands
    length: struct.Struct  # the number of entries in a directory
    entry: struct.Struct  # tag, type, number of values
    entry_bytes: int
    offset: struct.Struct


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:1] == b"I" else ">"
    first, count, entry, entry_bytes, offset = (8, "Q", "HHQ", 20, "Q") if 43 in data[2:4] else (4, "H", "HHI", 12, "I")
    return _Layout(
        first, struct.Struct(order + count), struct.Struct(order + entry), entry_bytes, struct.Struct(order + offset)
    )


def _directories(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (offset, end) of each image directory; `end` lies past the data where the directory is cut off."""
    layout = _layout(data)
    if len(data) < layout.first + layout.offset.size:
        yield 0, len(data) + 1
        return
    (at,) = layout.offset.unpack_from(data, layout.first)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < FRAMES_COUNTED:
        seen.add(at)
        end = at + layout.length.size
        if end <= len(data):
            (entries,) = layout.length.unpack_from(data, at)
            end += entries * layout.entry_bytes + layout.offset.size
        yield at, end
        if end > len(data):
            return
        (at,) = layout.offset.unpack_from(data, end - layout.offset.size)


def _values_end(data: bytes, at: int) -> int:
    """Return the end of the farthest value that the directory at `at` keeps outside itself."""
    layout = _layout(data)
    farthest = 0
    if at + layout.length.size > len(data):
        return farthest
    (entries,) = layout.length.unpack_from(data, at)
    for entry_at in range(at + layout.length.size, len(data) - layout.entry_bytes + 1, layout.entry_bytes)[:entries]:
        _, kind, count = layout.entry.unpack_from(data, entry_at)
        value_bytes = TYPE_BYTES.get(kind, 1) * count
        if value_bytes > layout.offset.size:
            (value_at,) = layout.offset.unpack_from(data, entry_at + layout.entry.size)
            farthest = max(farthest, value_at + value_bytes)
    return farthest


TIFF = Container("TIFF", (".tif", ".tiff"), lambda data: data.startswith(MARKS), _Tiff)
