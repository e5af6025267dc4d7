"""Packs on a node's own disk: read a thousand times from there instead of over the network.

With VISIONFM_STAGE=1 the data files of packs are copied once a node into TMPDIR, which a site gives each job or node.
A copy appears whole or not at all, and its name holds the digest of what it contains, so that jobs may share it. Where
the disk is too small, or a copy fails, the files are read where they lie: staging changes the speed, nothing else.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from visionfm.pretraining.source import ImageSource

STAGE = "VISIONFM_STAGE"
SPARE_BYTES = 1 << 30
log = logging.getLogger("visionfm")


def on_local_disk(source: ImageSource) -> ImageSource:
    """Return the source with its packs on the local disk, where the environment asks for that and they fit."""
    places = source.items.column("place")
    files = sorted({place.file for place in places if place is not None})
    if os.environ.get(STAGE) != "1" or not files:
        return source
    where = _copied(files, Path(tempfile.gettempdir()) / f"visionfm-packs-{os.getuid()}")
    moved = [place if place is None else place._replace(file=where.get(place.file, place.file)) for place in places]
    return ImageSource(source.items.at_places(moved), source.files, source.statistics)


def _copied(files: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the copies by file; those that could not be made are missing."""
    where: dict[str, str] = {}
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a node come here together: one copies
            for file in files:
                target = folder / Path(file).name
                if not _is_copy(target, file):
                    _copy(Path(file), target)
                where[file] = str(target)
    except OSError as error:
        log.warning("pretrain: packs are read where they lie: %s in %s", error.strerror, folder)
    else:
        log.info("pretrain: %d files of packs lie in %s", len(where), folder)
    return where


def _is_copy(target: Path, file: str) -> bool:
    return target.is_file() and target.stat().st_size == Path(file).stat().st_size


def _copy(file: Path, target: Path) -> None:
    size = file.stat().st_size
    if shutil.disk_usage(target.parent).free < size + SPARE_BYTES:
        raise OSError(28, "No space left on device")
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".copy-", delete=False) as part:
        temporary = Path(part.name)
    try:
        shutil.copyfile(file, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
