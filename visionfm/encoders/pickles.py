"""Content of `.pth`-like files: the pickle is read by a process of its own, the tensors are mapped from the file.

A crash, an endless loop or a demand for memory ends that process alone. Invariant: what it says is not believed: each
tensor's place, type and shape are checked against the file before torch sees them.
"""

import argparse
import json
import math
import mmap
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visionfm.encoders.pickle_reader import ITEM_BYTES
from visionfm.errors import DataError

if TYPE_CHECKING:
    import torch

SCRIPT = Path(__file__).with_name("pickle_reader.py")
GET_AGAIN = "get the file again from its owner and compare its sha256"


class Unusable(NamedTuple):
    """Stands for a tensor of a file whose values cannot be used: it is ..."""

    why: str


def refused(path: Path, found: str, do: str = GET_AGAIN) -> DataError:
    """Return the error of a weights file that cannot be read."""
    return DataError(
        f"the weights file {path.name} cannot be read",
        expected="tensors written by torch.save, or safetensors",
        found=found,
        where=path,
        do=do,
    )


def not_now(path: Path, error: OSError | MemoryError) -> DataError:
    """Return the error of a file that the system did not give: nothing is said against the file."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return DataError(
        f"the weights file {path.name} cannot be read now",
        found=reason,
        where=path,
        do="look at the disk, the memory and the file's rights, then try again",
    )


def read_pickled(path: Path) -> Mapping[str, Any]:
    """Return what torch.save wrote, to a depth of four: dicts, lists, plain values, tensors mapped from the file.

    Raises DataError for anything but a whole, harmless file.
    """
    answer = _ask(path)
    if "wants" in answer:
        raise DataError(
            f"the weights file {path.name} wants to run code and was not loaded",
            expected="tensors, plain values, argparse.Namespace and numpy scalars",
            found=answer["wants"],
            where=path,
            do="ask its owner for a file of plain tensors (safetensors); there is no fallback that loads it anyway",
        )
    if "system" in answer:
        raise not_now(path, OSError(0, answer["system"]))
    if "refused" in answer:
        raise refused(path, answer["refused"])
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, MemoryError, ValueError) as error:
        raise not_now(path, error if isinstance(error, OSError) else MemoryError()) from error
    content = _Rebuilding(path, mapped).value(answer["content"])
    if not isinstance(content, Mapping):
        raise refused(path, "no dictionary of tensors")
    return content


def _ask(path: Path) -> dict[str, Any]:
    """Return what the reading process says of the file."""
    command = [sys.executable, "-I", "-S", "-B", str(SCRIPT), str(path.absolute())]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except (OSError, MemoryError) as error:
        raise not_now(path, error) from error
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt
    if done.returncode:
        number = -done.returncode
        name = signal.Signals(number).name if number in set(signal.Signals) else f"exit code {done.returncode}"
        raise refused(path, f"a damaged or hostile file: the process that read it ended with {name}")
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise refused(path, "a damaged or hostile file: the process that read it gave no answer") from error
    return dict(answer)


class _Rebuilding:
    """Makes the content again from its JSON."""

    def __init__(self, path: Path, mapped: mmap.mmap) -> None:
        self.path, self.mapped = path, mapped

    def value(self, told: Any) -> Any:
        if not isinstance(told, list):
            return told
        kind, *rest = told
        if kind == "d":
            return {name: self.value(item) for name, item in rest[0]}
        if kind == "n":
            return argparse.Namespace(**{str(name): self.value(item) for name, item in rest[0]})
        if kind == "l":
            return [self.value(item) for item in rest[0]]
        if kind == "u":
            return Unusable(str(rest[0]))
        return self._tensor(*rest) if kind == "t" else None

    def _tensor(self, dtype: Any, start: Any, whole: Any, offset: Any, size: Any, stride: Any) -> Any:
        numbers = (start, whole, offset, *size, *stride)
        if dtype not in ITEM_BYTES or any(type(number) is not int or number < 0 for number in numbers):
            raise refused(self.path, "a damaged or hostile file: a tensor that cannot be")
        item, count = ITEM_BYTES[dtype], math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
        if start + whole > len(self.mapped) or count > whole // item or (count and last >= whole // item):
            raise refused(self.path, "a damaged or hostile file: a tensor beyond its end")
        return self._mapped(dtype, start, whole // item, count).as_strided(size, stride, offset if count else 0)

    def _mapped(self, dtype: str, start: int, stored: int, count: int) -> "torch.Tensor":
        import torch

        kind = getattr(torch, dtype)
        if not count:
            return torch.empty(0, dtype=kind)
        if start % ITEM_BYTES[dtype] == 0:
            return torch.frombuffer(self.mapped, dtype=kind, count=stored, offset=start)
        length = stored * ITEM_BYTES[dtype]  # of old files only: a copy lies where a number of this type may lie
        return torch.frombuffer(bytearray(self.mapped[start : start + length]), dtype=torch.uint8).view(kind)
