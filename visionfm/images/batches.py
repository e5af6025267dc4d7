"""Images to batches of one fixed shape, decoded in worker processes; imports no torch.

Reads image files below a root and checks their bytes against the index; a volume is opened once for all its frames.
Shapes: B rows of a batch (an image in V views takes V of them), N images, H = W = S px, 3 channels, uint8 RGB.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visionfm.images.identity import file_path, frame_of
from visionfm.images.parallel import in_order
from visionfm.images.pixels import Pixels
from visionfm.images.reading import read_checked
from visionfm.images.settings import EncoderReading
from visionfm.images.transforms import flip, resize_square

PIECE_BYTES = 64 << 20  # of squares that a process reads before it hands them over


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


def read_images(images: Sequence[tuple[str, str]], reading: BatchReading) -> Pixels:
    """Return the squares of images, images_NHWC.

    Raises DataError for a file that is gone, differs from the index, or does not decode.
    """
    size, how = reading.size_px, reading.how
    images_NHWC = np.empty((len(images), size, size, 3), np.uint8)
    for image_HWC, (path, image_id) in zip(images_NHWC, images, strict=True):
        found_HWC = read_checked(reading.root, path, image_id, how, target_px=size, exact=how.exact_decode)
        image_HWC[:] = resize_square(found_HWC, size, how.interpolation)
    return images_NHWC


def put_together(images: Iterable[Pixels], views: Sequence[str], rows: int) -> Pixels:
    """Return images_BHWC of a batch: image after image, its views side by side, the last row repeated up to B."""
    found = [flip(image_HWC, view) for image_HWC in images for view in views]
    return np.stack(found + found[-1:] * (rows - len(found)))


def pieces_of(batches: Iterable[Batch], size_px: int) -> list[list[tuple[str, str]]]:
    """Return the images of batches, in order, in pieces that are read by one process each: a batch's, or a volume's.

    The frames of a file stay together, so that it is opened once, as long as their squares take 64 MB at most.
    """
    pieces: list[list[tuple[str, str]]] = []
    most, last = max(1, PIECE_BYTES // (3 * size_px**2)), ""
    for batch in batches:
        for at, (path, image_id) in enumerate(batch.images):
            file = file_path(path, image_id) if frame_of(image_id) is not None else ""
            goes_on = pieces and (file == last if file or last else at > 0)
            if goes_on and len(pieces[-1]) < most:
                pieces[-1].append((path, image_id))
            else:
                pieces.append([(path, image_id)])
            last = file
    return pieces


def decoded_batches(batches: Sequence[Batch], reading: BatchReading, workers: int) -> Generator[tuple[Batch, Pixels]]:
    """Yield each batch with its images_BHWC, in order; `workers` 0 decodes in this process.

    Close the generator (contextlib.closing) when leaving early, so that the workers end.
    """
    pieces = pieces_of(batches, reading.size_px)
    with closing(in_order(pieces, partial(read_images, reading=reading), workers)) as read:
        images = (image_HWC for _, images_NHWC in read for image_HWC in images_NHWC)
        for batch in batches:
            yield batch, put_together(islice(images, len(batch.images)), batch.views, reading.rows)
