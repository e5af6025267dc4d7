"""What lies in a dataset's folder: its images, in each layout, and a fingerprint that tells when they changed.

Layouts: `vfm` (sub-datasets, or the root itself, with training/ and test/), `imagefolder` (train/val/test of class
folders, or class folders alone), `table` and `forecasting` (images anywhere below the root), `segmentation` and
`landmark` (as `vfm`, with images/ and labels/ in training/ and test/). Only names are read here, never contents.
Partners are what belongs to images without being one: masks, and arrays of landmarks.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from visionfm.errors import DataError
from visionfm.images.reading import ALLOWED_SUFFIXES

VFM_SPLITS = {"training": "train", "test": "test"}
PARTNERED = ("segmentation", "landmark")
IMAGES, LABELS = "images", "labels"
ARRAY_SUFFIXES = frozenset({".npy"})
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


class Listed(NamedTuple):
    """A file that the layout reads as an image; `path` is POSIX, relative to the root."""

    path: str
    bytes: int
    mtime_ns: int


def check_root(root: Path) -> None:
    """Raise DataError unless the dataset's folder is there."""
    if not root.is_dir():
        raise DataError(
            "the dataset's folder is missing",
            expected="a folder with its images",
            found="a file" if root.exists() else "nothing",
            where=root,
            do="correct `root` in the config (relative to the working directory)",
        )


def vfm_folders(root: Path) -> list[Path]:
    """Return the dataset folders of a vfm root: the root itself, or every visible folder directly below it."""
    if any((root / name).exists() for name in ("training", "test", "training_labels.txt", "test_labels.txt")):
        return [root]
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def list_images(root: Path, layout: str, pattern: str | None = None) -> list[Listed]:
    """Return all image files of a dataset, by path; `pattern` is a glob on the path relative to the root."""
    check_root(root)
    starts = [root]
    if layout == "vfm" or layout in PARTNERED:
        inside = IMAGES if layout in PARTNERED else "."
        starts = [folder / split / inside for folder in vfm_folders(root) for split in VFM_SPLITS]
    found = [entry for start in starts if start.is_dir() for entry in _listed(root, start)]
    return sorted(entry for entry in found if pattern is None or fnmatch(entry.path, pattern))


def list_partners(root: Path, layout: str, pattern: str | None = None) -> list[Listed]:
    """Return what may be a mask or an array of a dataset, by path: in a table's folder all that `pattern` spares."""
    check_root(root)
    if layout in PARTNERED:
        starts = [folder / split / LABELS for folder in vfm_folders(root) for split in VFM_SPLITS]
        suffixes = ALLOWED_SUFFIXES | ARRAY_SUFFIXES
        return sorted(entry for start in starts if start.is_dir() for entry in _listed(root, start, suffixes))
    if layout != "table" or pattern is None:
        return []
    return sorted(entry for entry in _listed(root, root) if not fnmatch(entry.path, pattern))


def _listed(root: Path, start: Path, suffixes: frozenset[str] = ALLOWED_SUFFIXES) -> Iterator[Listed]:
    for path, stat in _files(start, suffixes):
        yield Listed(path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns)


def _folders(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield a folder and all below it, linked ones too; hidden ones are no data, nor is a link to a folder above."""
    try:
        stat = folder.stat()
        if (stat.st_dev, stat.st_ino) in above:
            return
        inside = sorted(e.path for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(
            "a folder cannot be read", found=error.strerror, where=folder, do="correct its permissions, or remove it"
        ) from error
    yield folder
    for path in inside:
        yield from _folders(Path(path), above | {(stat.st_dev, stat.st_ino)})


def _files(start: Path, suffixes: frozenset[str]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every file of these suffixes below a folder, linked ones too; hidden entries are no data."""
    for folder in _folders(start):
        with os.scandir(folder) as entries:
            for entry in entries:
                is_wanted = Path(entry.name).suffix.lower() in suffixes and not entry.name.startswith(".")
                if is_wanted and not entry.is_dir():
                    yield Path(entry.path), entry.stat(follow_symlinks=entry.is_file())


def label_files(root: Path, layout: str, table: str | None) -> list[Path]:
    """Return the files that hold a dataset's labels, whether they exist or not; none where folders are the labels."""
    if layout == "table":
        return [root / table] if table is not None else []
    if layout == "forecasting":
        return [file for part in VFM_SPLITS for file in forecasting_files(root, part)]
    if layout == "vfm" and root.is_dir():
        return [folder / f"{split}_labels.txt" for folder in vfm_folders(root) for split in VFM_SPLITS]
    return []


def forecasting_files(root: Path, part: str) -> list[Path]:
    """Return both names that the published system has for a part's label file, whether they exist or not."""
    return [root / f"{part}_labels.txt", root / f"{part}.txt"]


def images_fingerprint(root: Path, layout: str, pattern: str | None, watch: str) -> str:
    """Return what changes when images are added, removed or edited; `missing` where there is no such folder."""
    if watch == "none":
        return "unwatched"
    if not root.is_dir():
        return "missing"
    if watch == "folders":
        return _digest((os.path.relpath(folder, root), str(folder.stat().st_mtime_ns)) for folder in _folders(root))
    return _digest((entry.path, str(entry.bytes), str(entry.mtime_ns)) for entry in list_images(root, layout, pattern))


def labels_fingerprint(
    root: Path, layout: str, table: str | None, pattern: str | None = None, masks: bool = False
) -> str:
    """Return what changes when a dataset's labels do: the contents of label files, for they are small, and each
    partner's size and date."""
    rows = [(os.path.relpath(path, root), _content(path)) for path in label_files(root, layout, table)]
    if (masks or layout in PARTNERED) and root.is_dir():
        partners = list_partners(root, layout, pattern)
        rows += [(entry.path, f"{entry.bytes}/{entry.mtime_ns}") for entry in partners]
    return _digest(rows)


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "missing"


def file_state(path: Path) -> str:
    """Return size, dates and inode of a file as text; `missing` where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    return f"{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}/{stat.st_ino}"


def _digest(rows: Iterable[tuple[str, ...]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update("\0".join(row).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
