"""Batches of a folder's images, and the processes that decode them."""

import hashlib
import os
from pathlib import Path

import pytest

from visionfm.images.batches import BatchReading
from visionfm.images.settings import EncoderReading


def reading_of(root: Path, rows: int = 4) -> BatchReading:
    return BatchReading(root, 32, rows, EncoderReading(exact_decode=True))


def with_ids(root: Path, names: list[str]) -> list[tuple[str, str]]:
    return [(name, hashlib.sha256((root / name).read_bytes()).hexdigest()) for name in names]


def children() -> set[int]:
    """Return the ids of this process's children (Linux)."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not listed.exists():
        pytest.skip("needs /proc to see the worker processes")
    return {int(pid) for pid in listed.read_text().split()}


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""
