"""Images to batches of one fixed shape, decoded in worker processes; imports no torch.

Reads image files below a root and checks their bytes against the index. Memory does not grow with the number of images:
only a few batches are on their way. Workers ignore signals sent to the group (the parent decides) and end with it.
Shapes: B rows of a batch (an image in V views takes V of them), H = W = S px, 3 channels, uint8 RGB.
"""

import hashlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.data.images import decode
from visionfm.data.transforms import Interpolation, flip, resize_square
from visionfm.errors import DataError
from visionfm.interruption import STOP_SIGNALS, ignore_stop_signals

BATCHES_AHEAD = 2  # a worker


class Batch(NamedTuple):
    """Images that go through the encoder together: (path relative to the root, image_id), and the views of each."""

    images: tuple[tuple[str, str], ...]
    views: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How image files become pixels."""

    root: Path
    size_px: int
    interpolation: Interpolation
    exact: bool  # decode at full size even where a smaller scale would do
    frame: int | None
    max_megapixels: float
    rows: int  # B, the same for every batch


def batches_of(images: Iterable[tuple[str, str]], views: tuple[str, ...], rows: int) -> list[Batch]:
    """Cut images, in order, into batches of at most `rows` views."""
    listed = list(images)
    step = max(1, rows // len(views))
    return [Batch(tuple(listed[at : at + step]), views) for at in range(0, len(listed), step)]


def read_batch(batch: Batch, reading: Reading) -> npt.NDArray[np.uint8]:
    """Return images_BHWC of a batch: image after image, its views side by side, the last row repeated up to B.

    Raises DataError for a file that is gone, differs from the index, or does not decode.
    """
    images_BHWC = np.empty((reading.rows, reading.size_px, reading.size_px, 3), np.uint8)
    row = 0
    for path, image_id in batch.images:
        small_HWC = resize_square(_decoded(path, image_id, reading), reading.size_px, reading.interpolation)
        for view in batch.views:
            images_BHWC[row] = flip(small_HWC, view)
            row += 1
    images_BHWC[row:] = images_BHWC[row - 1]
    return images_BHWC


def _decoded(path: str, image_id: str, reading: Reading) -> npt.NDArray[np.uint8]:
    file = reading.root / path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"an image cannot be read: {error.strerror}",
            where=file,
            do="check the file, then run `visionfm index` again",
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != image_id:
        raise DataError(
            f"{path} changed since index",
            expected=f"sha256 {image_id}",
            found=f"sha256 {found}",
            where=file,
            do="run `visionfm index` again",
        )
    return decode(
        content,
        frame=reading.frame,
        max_megapixels=reading.max_megapixels,
        target_px=reading.size_px,
        exact=reading.exact,
        where=path,
    )


def decoded_batches(
    batches: Iterable[Batch], reading: Reading, workers: int
) -> Generator[tuple[Batch, npt.NDArray[np.uint8]]]:
    """Yield each batch with its images_BHWC, in order; `workers` 0 decodes in this process.

    Close the generator (contextlib.closing) when leaving early, so that the workers end.
    """
    if workers == 0:
        for batch in batches:
            yield batch, read_batch(batch, reading)
        return
    # Fresh interpreters: a forked copy of a process in which torch has started its threads may hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield from _ahead(batches, lambda batch: pool.submit(read_batch, batch, reading), workers * BATCHES_AHEAD)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that decodes images was killed",
            do="the machine may be out of memory: lower `workers`, then run the same command again",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(
    batches: Iterable[Batch], submit: Callable[[Batch], "Future[npt.NDArray[np.uint8]]"], most: int
) -> Iterator[tuple[Batch, npt.NDArray[np.uint8]]]:
    waiting: deque[tuple[Batch, Future[npt.NDArray[np.uint8]]]] = deque()
    for batch in batches:
        with _stop_signals_held_back():
            waiting.append((batch, submit(batch)))
        if len(waiting) > most:
            first, images = waiting.popleft()
            yield first, images.result()
    while waiting:
        first, images = waiting.popleft()
        yield first, images.result()


@contextmanager
def _stop_signals_held_back() -> Iterator[None]:
    """Hold back signals while a worker starts: it inherits the mask, so none can end it before it ignores them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, signal.SIGINT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    ignore_stop_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
