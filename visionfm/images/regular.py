"""The bytes of regular files: what else lies in a dataset's folder is never opened, as that could wait for ever.

FIFOs, devices and sockets are refused by their kind, links to them too; the kernel's own files (below /proc) look like
regular ones of 0 bytes.
"""

import errno
import os
import stat
from pathlib import Path

_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}


class NotRegular(OSError):
    """Something that is no regular file; `strerror` says what."""

    def __init__(self, found: str) -> None:
        """`found` is its kind."""
        super().__init__(errno.EINVAL, found)


def read_regular(path: Path, most_bytes: int | None = None) -> bytes:
    """Return a regular file's bytes; NotRegular for anything else, OSError (EFBIG) for one over `most_bytes`."""
    _check(path.stat())
    # A FIFO that took the file's place meanwhile does not keep this waiting either.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as handle:  # noqa: PTH123
        info = os.fstat(handle.fileno())
        _check(info)
        if info.st_size == 0:
            return b""
        if most_bytes is not None and info.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"a file of {info.st_size} bytes, over {most_bytes}")
        return handle.read()


def _check(info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise NotRegular(f"a {_KINDS.get(stat.S_IFMT(info.st_mode), 'device')}")
