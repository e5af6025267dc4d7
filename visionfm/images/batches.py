"""Images to batches of one fixed shape, decoded in worker processes; imports no torch.

Reads image files below a root and checks their bytes against the index.
Shapes: B rows of a batch (an image in V views takes V of them), H = W = S px, 3 channels, uint8 RGB.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.images.parallel import in_order
from visionfm.images.reading import read_checked
from visionfm.images.settings import EncoderReading
from visionfm.images.transforms import flip, resize_square


class Batch(NamedTuple):
    """Images that go through the encoder together: (path relative to the root, image_id), and the views of each."""

    images: tuple[tuple[str, str], ...]
    views: tuple[str, ...]


@dataclass(frozen=True)
class BatchReading:
    """How image files become batches."""

    root: Path
    size_px: int
    rows: int  # B, the same for every batch
    how: EncoderReading


def batches_of(images: Iterable[tuple[str, str]], views: tuple[str, ...], rows: int) -> list[Batch]:
    """Cut images, in order, into batches of at most `rows` views."""
    listed = list(images)
    step = max(1, rows // len(views))
    return [Batch(tuple(listed[at : at + step]), views) for at in range(0, len(listed), step)]


def read_batch(batch: Batch, reading: BatchReading) -> npt.NDArray[np.uint8]:
    """Return images_BHWC of a batch: image after image, its views side by side, the last row repeated up to B.

    Raises DataError for a file that is gone, differs from the index, or does not decode.
    """
    size, how = reading.size_px, reading.how
    images_BHWC = np.empty((reading.rows, size, size, 3), np.uint8)
    row = 0
    for path, image_id in batch.images:
        image_HWC = read_checked(reading.root, path, image_id, how, target_px=size, exact=how.exact_decode)
        small_HWC = resize_square(image_HWC, size, how.interpolation)
        for view in batch.views:
            images_BHWC[row] = flip(small_HWC, view)
            row += 1
    images_BHWC[row:] = images_BHWC[row - 1]
    return images_BHWC


def decoded_batches(
    batches: Iterable[Batch], reading: BatchReading, workers: int
) -> Generator[tuple[Batch, npt.NDArray[np.uint8]]]:
    """Yield each batch with its images_BHWC, in order; `workers` 0 decodes in this process.

    Close the generator (contextlib.closing) when leaving early, so that the workers end.
    """
    return in_order(batches, partial(read_batch, reading=reading), workers)
