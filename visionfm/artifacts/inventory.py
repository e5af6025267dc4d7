"""What lies below a results folder: each path once, with its kept copy, and how much of the disk both take together.

A file and its kept copy are mostly one file of the disk, with two names; it counts once.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from visionfm.artifacts.files import KEPT


class Stored(NamedTuple):
    """What lies at a path below results/: the file, its kept copy, or both."""

    inside: str  # the path below results/
    file: Path | None
    kept: Path | None
    size: int  # bytes on the disk

    @property
    def files(self) -> list[Path]:
        """Return the names that it has."""
        return [path for path in (self.file, self.kept) if path is not None]


def stored(results: Path) -> Iterator[Stored]:
    """Yield all files, sorted by their paths."""
    kept_root = results / KEPT
    files, kept = _below(results, {KEPT}), _below(kept_root, set())
    for inside in sorted(files.keys() | kept.keys()):
        names = [
            (root / inside, known[inside]) for root, known in ((results, files), (kept_root, kept)) if inside in known
        ]
        by_inode = {(found.st_dev, found.st_ino): found.st_blocks * 512 for _, found in names}
        file, copy = (
            root / inside if inside in known else None for root, known in ((results, files), (kept_root, kept))
        )
        yield Stored(inside, file, copy, sum(by_inode.values()))


def _below(root: Path, left_out: set[str]) -> dict[str, os.stat_result]:
    found: dict[str, os.stat_result] = {}
    folders = [root] if root.is_dir() else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in left_out:
                        folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    found[Path(entry.path).relative_to(root).as_posix()] = entry.stat(follow_symlinks=False)
    return found
