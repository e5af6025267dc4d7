"""Work on images in worker processes, results in order; imports no torch.

Memory does not grow with the amount of work: only a few pieces are on their way. Workers ignore signals sent to the
group (the parent decides); they end with it, and when one of them was killed.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import NamedTuple, TypeVar

from visionfm.errors import DataError
from visionfm.runtime.interruption import STOP_SIGNALS, ignore_stop_signals

AHEAD = 2  # pieces of work on their way, for each worker
Work = TypeVar("Work")
Result = TypeVar("Result")


class _Worker(SpawnProcess):
    def terminate(self) -> None:
        """End this process for good, as an executor wants it that has lost one of its workers: they ignore SIGTERM.

        From Python 3.12.1 on it waits for them with its lock held, and whoever submits then would wait for ever.
        """
        self.kill()


class Workers(SpawnContext):
    """How worker processes start: as fresh interpreters, for a fork of a process that runs torch's threads may hang."""

    Process = _Worker


class Pool(NamedTuple):
    """Running worker processes, and how many."""

    executor: ProcessPoolExecutor
    processes: int


@contextmanager
def worker_pool(workers: int) -> "Iterator[Pool | int]":
    """Keep worker processes for several calls of `in_order`, which take what this yields."""
    if workers == 0:
        yield 0
        return
    context = Workers()
    theirs, ours = context.Pipe(duplex=False)  # the workers end when our end of it closes
    pool = ProcessPoolExecutor(workers, context, start_worker, (theirs,))
    try:
        yield Pool(pool, workers)
    except BrokenProcessPool as error:
        raise killed_worker() from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        theirs.close()


def killed_worker() -> DataError:
    """Return what to raise where the system has killed a worker process."""
    return DataError(
        "a process that decodes images was killed",
        do="the machine may be out of memory: lower `workers`, then run the same command again",
    )


def in_order(
    pieces: Iterable[Work], function: Callable[[Work], Result], workers: int | Pool
) -> Generator[tuple[Work, Result]]:
    """Yield each piece with what `function` makes of it, in order; `workers` 0 works in this process.

    Close the generator (contextlib.closing) when leaving early, so that the workers stop, or their pool is free.
    """
    with worker_pool(workers) if isinstance(workers, int) else nullcontext(workers) as pool:
        if isinstance(pool, int):
            for piece in pieces:
                yield piece, function(piece)
            return
        executor = pool.executor
        yield from _ahead(pieces, lambda piece: executor.submit(function, piece), pool.processes * AHEAD)


def _ahead(
    pieces: Iterable[Work], submit: Callable[[Work], "Future[Result]"], most: int
) -> Iterator[tuple[Work, Result]]:
    waiting: deque[tuple[Work, Future[Result]]] = deque()
    try:
        for piece in pieces:
            with _stop_signals_held_back():
                waiting.append((piece, submit(piece)))
            if len(waiting) > most:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
    finally:
        for _, result in waiting:
            result.cancel()


@contextmanager
def _stop_signals_held_back() -> Iterator[None]:
    """Hold back signals while a worker starts: it inherits the mask, so none can end it before it ignores them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, signal.SIGINT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(pool: multiprocessing.connection.Connection) -> None:
    """Ignore signals sent to the group, and end when the other end of this pipe closes."""
    ignore_stop_signals()
    threading.Thread(target=_end_with_pool, args=(pool,), daemon=True).start()


def _end_with_pool(pool: multiprocessing.connection.Connection) -> None:
    """End this process when the parent has closed its end, or has ended."""
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([pool] if parent is None else [pool, parent.sentinel])
    os._exit(1)
