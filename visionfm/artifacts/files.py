"""Files that are absent or complete, and the kept copies that outlive a deletion: what `artifacts` publishes through.

A file is written under a temporary name, synced and renamed; a hard link of it is kept at `results/.kept/<same
path>`. Invariant: whenever a process or the machine stops, the old file or the whole new one is there. What a killed
process leaves is a hidden file with a name of ours, swept a day later by the next write to its folder.
"""

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from visionfm.errors import DataError, UsageError

RESULTS, KEPT = "results", ".kept"
FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_NAME, LONGEST_TOLD = 255, 200  # bytes: of a file's name by most systems, and of it in a temporary one
ABANDONED_S = 24 * 3600
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # what `_beside` makes, and few others would


def kept_path(path: str | Path) -> Path | None:
    """Return where the hard link of an artefact is kept: `results/.kept/<same path>`.

    None outside a results folder, and for what lies in `.kept` itself.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links in the path stay as they are
    for parent in absolute.parents:
        if parent.name == RESULTS:
            inside = absolute.relative_to(parent)
            return None if inside.parts[0] == KEPT else parent / KEPT / inside
    return None


def publish(path: str | Path, *pieces: bytes | bytearray | memoryview) -> None:
    """Write bytes, in pieces, to `path`: at any moment the old file or the whole new one is there; keep a hard link.

    A full disk raises DataError and leaves the old file whole.
    """
    path = Path(path)
    with temporary_for(path, sum(map(len, pieces))) as temporary:
        with temporary.open("xb") as handle:
            for piece in pieces:
                handle.write(piece)
        publish_file(temporary, path)


@contextlib.contextmanager
def temporary_for(path: Path, needed: int = 0) -> Iterator[Path]:
    """Yield a hidden name beside `path` to write to; whatever still lies there afterwards is removed.

    Errors of the file system inside the block become DataError; `needed` bytes must be free at its start.
    """
    check_target(path)
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_space(path.parent, needed)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        _explain(error, path, needed)


def check_target(path: Path) -> None:
    """Raise UsageError where an output's name is that of a device, a FIFO or a socket: a rename would replace it.

    Also where the name is longer than a file's may be, which would be found when all is computed.
    """
    if (length := len(os.fsencode(path.name))) > LONGEST_NAME:
        raise UsageError(
            "the name of an output is too long",
            expected=f"{LONGEST_NAME} bytes at most",
            found=f"{length} bytes: {path.name[:40]}...",
            do="name another output",
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(
            f"{path} is no place for a file",
            expected="a new file, or a regular one",
            found="a device, a FIFO or a socket",
            do="name another output",
        )


def publish_file(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, after its bytes are on the disk; keep a hard link."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    kept = kept_path(path)
    if kept is not None:
        _link(temporary, kept)
    temporary.replace(path)
    _sync_folder(path.parent)
    for folder in (path.parent, *([kept.parent] if kept is not None else [])):
        _sweep(folder)


def _sweep(folder: Path) -> None:
    for abandoned in folder.glob(".*.tmp"):
        if not TEMPORARY.fullmatch(abandoned.name):
            continue  # a user's own
        with contextlib.suppress(FileNotFoundError):  # another process may sweep too
            if time.time() - abandoned.stat().st_mtime > ABANDONED_S:
                abandoned.unlink()


def keep(path: Path) -> None:
    """Keep a hard link of an artefact that lies there already."""
    kept = kept_path(path)
    try:
        if kept is not None and not (kept.exists() and kept.samefile(path)):
            _link(path, kept)
    except OSError as error:
        _explain(error, path, path.stat().st_size)


def put_back(kept: Path, path: Path) -> None:
    """Link an artefact's kept copy to `path`, where it is not there already, as a file of now."""
    try:
        if not (path.exists() and path.samefile(kept)):
            _link(kept, path)
        os.utime(path)
    except OSError as error:
        _explain(error, path, kept.stat().st_size)


def _beside(path: Path) -> Path:
    """Return a hidden name beside `path`, as unlike any other as its end; of a long name its beginning stands in it."""
    told = os.fsencode(path.name)[:LONGEST_TOLD].decode(errors="ignore")
    return path.parent / f".{told}.{uuid.uuid4().hex}.tmp"


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{free} bytes free")


def _explain(error: OSError, path: Path, needed: int) -> NoReturn:
    if error.errno in FULL:
        # The system names the file that has no room, which may be another's, below /tmp or /dev/shm say.
        path = Path(error.filename) if isinstance(error.filename, str) else path
        there = next((folder for folder in path.absolute().parents if folder.is_dir()), Path())
        raise DataError(
            "the disk is full",
            expected=f"{needed / 1e6:.1f} MB free" if needed else "more room than there was",
            found=f"{shutil.disk_usage(there).free / 1e6:.1f} MB",
            where=path,
            do="free space and run the same command again; nothing was lost",
        ) from error
    raise DataError(
        f"{path.name} cannot be written: {error.strerror}", where=path, do="make the folder writable"
    ) from error


def _link(source: Path, target: Path) -> None:
    """Put a hard link (a copy where links are impossible) of `source` at `target`, replacing what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno in FULL:
                raise
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
