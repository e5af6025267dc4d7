"""Files that other people's native code parses are first read in a process of their own: it may crash, hang, or eat
memory, and that is then a fact of the file.

The process lives on from file to file and ends with its owner. Once a file was read so, its digest vouches for it.
"""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import active_children
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import TypeVar

from visionfm.images.containers.container import Refused
from visionfm.images.parallel import Workers, killed_worker, start_worker

MOST_BYTES = 8 << 30  # of memory, for one file
MOST_S, S_PER_MB = 60.0, 2.0
Result = TypeVar("Result")


class _Process:
    """One reading process."""

    def __init__(self) -> None:
        context = Workers()
        self.theirs, self.ours = context.Pipe(duplex=False)  # it ends when our end closes
        self.pool = ProcessPoolExecutor(1, context, _start, (self.theirs, MOST_BYTES))
        self.owner, self.pid = os.getpid(), self.pool.submit(os.getpid).result()
        self.worker = next(one for one in active_children() if one.pid == self.pid)

    def end(self) -> None:
        """Kill it: it may be anywhere in other people's code."""
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.kill(self.pid, signal.SIGKILL)
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.ours.close()
        self.theirs.close()


_running: list[_Process] = []


def end() -> None:
    """End this process's reading process; the next file starts another."""
    for process in _running:
        if process.owner == os.getpid():
            process.end()
    _running.clear()


def guarded(function: Callable[..., Result], *arguments: object, file_bytes: int) -> Result:
    """Return what `function` returns in a process of its own; Refused where that died or came to no end.

    DataError where it was killed from outside, as a machine without memory does: that says nothing of the file.
    """
    if not _running or _running[0].owner != os.getpid():  # a forked copy of a process does not own what this one does
        _running[:] = [_Process()]
        Finalize(None, end, exitpriority=1)  # a process that ends waits for those that it has started
    process = _running[0]
    limit_s = MOST_S + S_PER_MB * file_bytes / 1e6
    try:
        return process.pool.submit(function, *arguments).result(limit_s)
    except BrokenProcessPool as error:
        _running.clear()
        process.pool.shutdown(wait=True)
        if process.worker.exitcode == -signal.SIGKILL:
            raise killed_worker() from error
        raise Refused("unreadable", "its decoder broke down") from error
    except TimeoutError as error:
        end()
        raise Refused("unreadable", f"its decoder came to no end in {limit_s:.0f} s") from error


def _start(pool: Connection, most_bytes: int) -> None:
    """Limit the memory of this process; not its addresses, of which threads on large machines reserve many."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most_bytes = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard))
    start_worker(pool)
