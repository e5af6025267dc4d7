"""What lies in a dataset's folder, by its layout: its images, its label files, and fingerprints that tell of changes.

Partners are what belongs to images without being one: masks, and arrays of landmarks. Only names, sizes and dates are
read here, and the contents of label files, for they are small.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from visionfm.data.layouts import LAYOUTS
from visionfm.data.layouts.folders import Listed, check_root, files_below, folders_below, slices_below
from visionfm.data.tables.block import TableFile
from visionfm.errors import DataError, cannot_read_now, is_passing
from visionfm.images.containers import CONTAINERS, suffix_of
from visionfm.images.reading import ALLOWED_SUFFIXES
from visionfm.images.regular import read_regular

ARRAY_SUFFIXES = frozenset({".npy", ".npz", ".nii", ".nii.gz"})  # of arrays of landmarks, and masks of volumes


def list_images(root: Path, layout: str, pattern: str | None = None) -> list[Listed]:
    """Return all images of a dataset, by path; `pattern` is a glob on the path relative to the root.

    One that ends in a slash means folders: each is a volume, and the pictures in it are its slices.
    """
    check_root(root)
    if pattern is not None and pattern.endswith("/"):
        folders = slices_below(root, LAYOUTS[layout].image_folders(root))
        return [entry for entry in folders if fnmatch(f"{entry.path}/", pattern)]
    found = files_below(root, LAYOUTS[layout].image_folders(root), asked=frozenset({suffix_of(pattern or "")}))
    return [entry for entry in found if pattern is None or fnmatch(entry.path, pattern)]


def to_install(images: Sequence[Listed]) -> list[str]:
    """Return what has to be installed to read these images, as their names tell: `12 files .dcm: install ...`."""
    missing = {suffix: what for one in CONTAINERS if (what := one.missing()) for suffix in one.suffixes}
    if not missing:
        return []
    count = Counter(suffix_of(entry.path) for entry in images)
    return [f"{count[suffix]} files {suffix}: {what}" for suffix, what in missing.items() if count[suffix]]


def other_files(root: Path) -> str:
    """Return what lies in a folder that has no images, by suffix: `7 files .e2e`."""
    count = Counter(suffix_of(path.name) or "without suffix" for path in root.rglob("*") if path.is_file())
    return ", ".join(f"{times} files {suffix}" for suffix, times in count.most_common(5)) or "nothing"


def no_images(root: Path, layout: str, pattern: str | None) -> DataError:
    """Return the error of a dataset without images: where its layout looks for them, and what lies there instead."""
    folders = [folder for folder in LAYOUTS[layout].image_folders(root) if folder != root]
    sought = f" below {', '.join(f'{folder.relative_to(root)}/' for folder in folders[:4])}" if folders else ""
    return DataError(
        "the dataset has no images",
        expected=f"image files{sought}, as layout {layout} has them",
        found=other_files(root),
        where=root if pattern is None else f"{root}, glob {pattern}",
        do="correct `root`, `layout` or `images` in the config",
    )


def list_partners(root: Path, layout: str, pattern: str | None = None) -> list[Listed]:
    """Return what may be a mask or an array of a dataset, by path: in a table's folder all that `pattern` spares."""
    check_root(root)
    folders = LAYOUTS[layout].partner_folders
    if folders is not None:
        return files_below(root, folders(root), ALLOWED_SUFFIXES | ARRAY_SUFFIXES)
    if pattern is None:
        return []
    found = files_below(root, asked=ARRAY_SUFFIXES)
    if pattern.endswith("/"):  # whose pictures are the images' own slices
        return [entry for entry in found if not fnmatch(f"{_folder(entry.path)}/", pattern)]
    return [entry for entry in found if not fnmatch(entry.path, pattern)]


def partner_names(files: Iterable[str], layout: str, pattern: str | None, in_frames: bool) -> list[str]:
    """Return what a row can name as its mask or array: files, and of volumes (`in_frames`) folders of slices too.

    In a published tree whose images are folders, masks are folders alone.
    """
    files = sorted(files)
    if not in_frames:
        return files
    folders = {_folder(path) for path in files} - {""}
    if LAYOUTS[layout].partner_folders is not None:
        return sorted(folders) if (pattern or "").endswith("/") else files
    return sorted({*files, *folders})


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def label_files(root: Path, layout: str, table: str | TableFile | None) -> list[Path]:
    """Return the files that hold a dataset's labels, whether they exist or not; none where folders are the labels."""
    return LAYOUTS[layout].label_files(root, table)


def images_fingerprint(root: Path, layout: str, pattern: str | None, watch: str) -> str:
    """Return what changes when images are added, removed or edited; `missing` where there is no such folder."""
    if watch == "none":
        return "unwatched"
    if not root.is_dir():
        return "missing"
    if watch == "folders":
        dates = ((os.path.relpath(path, root), str(path.stat().st_mtime_ns)) for path in folders_below(root))
        return _digest(dates)
    return _digest((entry.path, str(entry.bytes), str(entry.mtime_ns)) for entry in list_images(root, layout, pattern))


def labels_fingerprint(
    root: Path,
    layout: str,
    table: str | TableFile | None,
    pattern: str | None = None,
    masks: bool = False,
    key: Path | None = None,
) -> str:
    """Return what changes when a dataset's labels do: label files, the key of ids, each partner's size and date."""
    rows = [] if key is None else [("key", _content(key))]
    rows += [(os.path.relpath(path, root), _content(path)) for path in label_files(root, layout, table)]
    if (masks or LAYOUTS[layout].partner_folders is not None) and root.is_dir():
        partners = list_partners(root, layout, pattern)
        rows += [(entry.path, f"{entry.bytes}/{entry.mtime_ns}") for entry in partners]
    return _digest(rows)


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(read_regular(path)).hexdigest()
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(path, error) from error
        return "missing"


def file_state(path: Path) -> str:
    """Return size, dates and inode of a file as text; `missing` where there is none."""
    try:
        stat = path.stat()
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(path, error) from error
        return "missing"
    return f"{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}/{stat.st_ino}"


def _digest(rows: Iterable[tuple[str, ...]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update("\0".join(row).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
