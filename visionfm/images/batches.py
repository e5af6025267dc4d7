"""Images to batches of one fixed shape, decoded in worker processes; imports no torch.

Reads image files below a root and checks their bytes against the index.
Shapes: B rows of a batch (an image in V views takes V of them), H = W = S px, 3 channels, uint8 RGB.
"""

import hashlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.errors import DataError
from visionfm.images.parallel import in_order
from visionfm.images.reading import decode
from visionfm.images.transforms import Interpolation, flip, resize_square


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
        small_HWC = resize_square(read_image(path, image_id, reading), reading.size_px, reading.interpolation)
        for view in batch.views:
            images_BHWC[row] = flip(small_HWC, view)
            row += 1
    images_BHWC[row:] = images_BHWC[row - 1]
    return images_BHWC


def read_image(path: str, image_id: str, reading: Reading) -> npt.NDArray[np.uint8]:
    """Return one image (H, W, 3) as it is before the resize; DataError where its bytes are not those of the index."""
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
    return in_order(batches, partial(read_batch, reading=reading), workers)
