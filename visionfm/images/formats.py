"""What a file's bytes say before any pixel is decoded: its format, its number of frames, whether it ends early.

Reads bytes in memory only, in time linear in the frames (Pillow's own count is quadratic for TIFF, and a chain of a
million pages is a few megabytes), and believes nothing: every offset is checked against the length.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

# By content; a suffix proves nothing. WebP's second mark stands at byte 8.
SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "WEBP": (b"RIFF",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
}
# Known, and refused by name so that the reason helps.
OTHERS = {
    "PDF": (0, b"%PDF"),
    "EPS": (0, b"%!PS"),
    "HEIC or AVIF": (4, b"ftyp"),
    "JPEG 2000": (4, b"jP  "),
    "JPEG 2000 codestream": (0, b"\xff\x4f\xff\x51"),
    "Photoshop": (0, b"8BPS"),
    "SVG": (0, b"<svg"),
    "XML": (0, b"<?xml"),
    "ZIP": (0, b"PK\x03\x04"),
    "HDF5": (0, b"\x89HDF"),
    "gzip": (0, b"\x1f\x8b"),
}
TIFF_TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # the others: 1
FRAMES_COUNTED = 100_000  # no more are counted; an image file with more pages is as good as endless


def detect(data: bytes) -> str | None:
    """Return JPEG, PNG, TIFF, WEBP, GIF or BMP by content, or None."""
    for name, marks in SIGNATURES.items():
        if data.startswith(marks):
            return None if name == "WEBP" and data[8:12] != b"WEBP" else name
    return None


def is_dicom(data: bytes) -> bool:
    """Say whether the bytes carry DICOM's preamble."""
    return data[128:132] == b"DICM"


def name_of_other(data: bytes) -> str | None:
    """Return the name of a known format that is not read here, or None."""
    for name, (offset, mark) in OTHERS.items():
        if data[offset : offset + len(mark)] == mark:
            return name
    return None


def count_gif_frames(data: bytes) -> int:
    """Count a GIF's image blocks, at most FRAMES_COUNTED, without decoding one."""
    frames = 0
    at = 13 + _gif_table_bytes(data[10:11])
    while frames < FRAMES_COUNTED:
        kind = data[at : at + 1]
        if kind == b"!":
            at = _after_gif_blocks(data, at + 2)
        elif kind == b",":
            frames += 1
            at = _after_gif_blocks(data, at + 11 + _gif_table_bytes(data[at + 9 : at + 10]))
        else:
            break
    return frames


def count_tiff_frames(data: bytes) -> int:
    """Count a TIFF's image directories, at most FRAMES_COUNTED; one past the end counts, as it was promised."""
    return sum(1 for _ in _tiff_directories(data))


def ends_early(data: bytes, name: str, tiff_end: int = 0) -> bool:
    """Say whether the file stops before its format says that it should; asked only after decoding has failed.

    `tiff_end` is the last byte that a TIFF's strips or tiles need, where it is known.
    """
    tail = data[-64:]
    if name == "JPEG":
        return b"\xff\xd9" not in tail
    if name == "PNG":
        return b"IEND" not in tail
    if name == "GIF":
        return not tail.rstrip(b"\0").endswith(b";")
    if name == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if name == "BMP":
        return len(data) < 54 or int.from_bytes(data[2:6], "little") > len(data)
    return max([tiff_end, *(max(end, _tiff_values_end(data, at)) for at, end in _tiff_directories(data))]) > len(data)


def _gif_table_bytes(flags: bytes) -> int:
    """Return the size of the colour table that a screen's or an image's flag byte announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _after_gif_blocks(data: bytes, at: int) -> int:
    """Return the offset after a chain of length-prefixed blocks."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


class _TiffLayout(NamedTuple):
    """How numbers stand in this TIFF: classic with 32-bit offsets, or BigTIFF with 64-bit ones."""

    first: int  # where the first directory's offset stands
    length: struct.Struct  # the number of entries in a directory
    entry: struct.Struct  # tag, type, number of values
    entry_bytes: int
    offset: struct.Struct


def _tiff_layout(data: bytes) -> _TiffLayout:
    order = "<" if data[:1] == b"I" else ">"
    first, count, entry, entry_bytes, offset = (8, "Q", "HHQ", 20, "Q") if 43 in data[2:4] else (4, "H", "HHI", 12, "I")
    return _TiffLayout(
        first, struct.Struct(order + count), struct.Struct(order + entry), entry_bytes, struct.Struct(order + offset)
    )


def _tiff_directories(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (offset, end) of each image directory; `end` lies past the data where the directory is cut off."""
    layout = _tiff_layout(data)
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


def _tiff_values_end(data: bytes, at: int) -> int:
    """Return the end of the farthest value that the directory at `at` keeps outside itself."""
    layout = _tiff_layout(data)
    farthest = 0
    if at + layout.length.size > len(data):
        return farthest
    (entries,) = layout.length.unpack_from(data, at)
    for entry_at in range(at + layout.length.size, len(data) - layout.entry_bytes + 1, layout.entry_bytes)[:entries]:
        _, kind, count = layout.entry.unpack_from(data, entry_at)
        value_bytes = TIFF_TYPE_BYTES.get(kind, 1) * count
        if value_bytes > layout.offset.size:
            (value_at,) = layout.offset.unpack_from(data, entry_at + layout.entry.size)
            farthest = max(farthest, value_at + value_bytes)
    return farthest
