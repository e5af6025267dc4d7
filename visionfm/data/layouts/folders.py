"""Folders and files as layouts share them: a walk that tells the same everywhere, and the published tree of splits.

The published tree: sub-datasets, or the root itself, each with training/ and test/. Only names are read here, never
contents.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from visionfm.errors import DataError
from visionfm.images.containers import container_of, suffix_of
from visionfm.images.reading import ALLOWED_SUFFIXES, ASKED_SUFFIXES
from visionfm.images.whole import IN_SEVERAL, size_and_state, slices_in

VFM_SPLITS = {"training": "train", "test": "test"}
IMAGES, LABELS = "images", "labels"  # of partnered trees, below training/ and test/
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
HEAD_BYTES = 512  # of a file whose name says nothing; enough to know every format
DIRECTORY = "DICOMDIR"  # a list of files, as CDs have it; begins as an image does


class Listed(NamedTuple):
    """A file that the layout reads as an image; `path` is POSIX, relative to the root.

    Of a volume in several files, `bytes` is their sum and `mtime_ns` a number that changes when any of them does.
    """

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
            do="correct its path, in a config `root` (relative to the working directory)",
        )


def vfm_folders(root: Path) -> list[Path]:
    """Return the dataset folders of a vfm root: the root itself, or every visible folder directly below it."""
    if any((root / name).exists() for name in ("training", "test", "training_labels.txt", "test_labels.txt")):
        return [root]
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")) or [root]


def vfm_parts(root: Path, inside: str = ".") -> list[Path]:
    """Return training/ and test/ of each dataset folder of a vfm root, or the folder of a name in each."""
    return [folder / part / inside for folder in vfm_folders(root) for part in VFM_SPLITS]


def vfm_split(path: str) -> str | None:
    """Return the split that an image's folders say in a vfm tree."""
    return next((VFM_SPLITS[part] for part in path.split("/")[:-1][:2] if part in VFM_SPLITS), None)


def files_below(
    root: Path,
    starts: Iterable[Path] | None = None,
    suffixes: frozenset[str] = ALLOWED_SUFFIXES,
    *,
    asked: frozenset[str] = frozenset(),
) -> list[Listed]:
    """Return all files of these suffixes (images) below a root, or below folders in it, by path.

    `asked` are suffixes that count too, if images can have them: such files may be many other things.
    """
    check_root(root)
    return sorted(
        entry
        for start in ([root] if starts is None else starts)
        if start.is_dir()
        for entry in _files(root, start, suffixes, asked)
    )


def slices_below(root: Path, starts: Iterable[Path] | None = None) -> list[Listed]:
    """Return all folders below a root, or below folders in it, that hold pictures: each is a volume; by path."""
    check_root(root)
    folders = {folder for start in starts or [root] if start.is_dir() for folder in folders_below(start)} - {root}
    holding = [folder for folder in folders if slices_in(folder)]
    return sorted(Listed(folder.relative_to(root).as_posix(), *size_and_state(folder)) for folder in holding)


def folders_below(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
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
        yield from folders_below(Path(path), above | {(stat.st_dev, stat.st_ino)})


def _files(root: Path, start: Path, suffixes: frozenset[str], asked: frozenset[str]) -> Iterator[Listed]:
    """Yield every file of these suffixes below a folder, linked ones too; hidden entries are no data.

    A folder may hold millions of files: a path object for each would take three times as long as the listing. Where
    images are sought, a name that ends in no suffix, or in a number as the UIDs of DICOM do, is looked into.
    """
    looked_into = suffixes is ALLOWED_SUFFIXES
    suffixes = suffixes | (ASKED_SUFFIXES & asked)
    for folder in folders_below(start):
        inside = folder.relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                suffix = suffix_of(entry.name)
                nameless = looked_into and (not suffix or suffix[1:].isdigit())
                if not entry.is_dir() if suffix in suffixes else nameless and _begins_as_image(entry):
                    if suffix in IN_SEVERAL:
                        yield Listed(prefix + entry.name, *size_and_state(Path(entry.path)))
                        continue
                    stat = entry.stat(follow_symlinks=entry.is_file())
                    yield Listed(prefix + entry.name, stat.st_size, stat.st_mtime_ns)


def _begins_as_image(entry: os.DirEntry[str]) -> bool:
    """Tell by a file's first bytes whether it is an image; one that cannot be opened now is not passed over."""
    if not entry.is_file() or entry.name == DIRECTORY:
        return False
    try:
        with open(entry.path, "rb") as file:  # noqa: PTH123
            return container_of(file.read(HEAD_BYTES)) is not None
    except OSError:
        return True
