"""All bytes of an image: of its file, of a folder of slices, or of a file and those that it names.

A folder of slices, and a volume whose file names others, are read, digested and dated as one; whoever reads images does
not know which it was.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from visionfm.images.containers import CONTAINERS, container_of, suffix_of
from visionfm.images.containers.parts import joined
from visionfm.images.containers.slices import SUFFIXES
from visionfm.images.regular import read_regular

IN_SEVERAL = frozenset(suffix for one in CONTAINERS if one.beside is not None for suffix in one.suffixes)


def read_whole(path: Path, most_bytes: int | None = None) -> bytes:
    """Return all bytes of an image; as `read_regular` does, OSError (EFBIG) for more than `most_bytes`."""
    if path.is_dir():
        return joined(b"", _parts(path, slices_in(path), most_bytes))
    data = read_regular(path, most_bytes)
    container = container_of(data) if suffix_of(path.name) in IN_SEVERAL else None
    if container is None or container.beside is None:
        return data
    there = [name for name in container.beside(data) if (path.parent / name).is_file()]
    return joined(data, _parts(path.parent, there, most_bytes))


def slices_in(folder: Path) -> list[str]:
    """Return the names of the pictures in a folder; hidden files are none."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if suffix_of(entry.name) in SUFFIXES and not entry.name.startswith(".")
        )


def size_and_state(path: Path) -> tuple[int, int]:
    """Return the size of a volume in several files, in bytes, and a number that changes when any of them does."""
    folder = path if path.is_dir() else path.parent
    names = slices_in(folder) if path.is_dir() else sorted(entry.name for entry in os.scandir(folder))
    stats = [(name, (folder / name).stat()) for name in names if (folder / name).is_file()]
    lines = [f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}" for name, stat in stats]
    digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).digest()
    return sum(stat.st_size for _, stat in stats), int.from_bytes(digest[:8]) >> 1


def _parts(folder: Path, names: Iterable[str], most_bytes: int | None) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    room = most_bytes
    for name in names:
        parts[name] = read_regular(folder / name, room)
        if most_bytes is not None and (room := most_bytes - sum(map(len, parts.values()))) < 0:
            raise OSError(errno.EFBIG, f"files of over {most_bytes} bytes")
    return parts
