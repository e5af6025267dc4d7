"""Mean and standard deviation of images, by modality, in one pass that keeps no image: `statistics: auto`.

Each image counts alike: it is measured as an encoder sees it, resized to a square. Sums are of integers, hence exact:
neither order nor workers change a bit. H/W px, S px of the square, C = 3 (RGB).
"""

import logging
import math
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from visionfm.config.base import Statistics
from visionfm.errors import DataError
from visionfm.images.parallel import Pool, in_order
from visionfm.images.transforms import Interpolation, resize_square
from visionfm.pretraining.reading import Files, Item, read_pixels
from visionfm.pretraining.source import ImageSource
from visionfm.runtime.progress import track

PIECE = 16  # images per task of a worker
LEAST_STD = 1 / 255
log = logging.getLogger("visionfm")


class Sums(NamedTuple):
    """Of the values of some images: how many per channel, their sum and the sum of their squares, for R, G, B."""

    values: int
    sum_C: tuple[int, ...]
    squares_C: tuple[int, ...]


def measure(
    source: ImageSource,
    size_px: int,
    workers: int | Pool = 0,
    interpolation: Interpolation = "bilinear",
    exact: bool = False,
) -> dict[str, Statistics]:
    """Return the statistics of each modality's images, RGB in [0, 1], as an encoder of `size_px` sees them.

    Raises DataError for a modality whose images have a channel that is the same everywhere.
    """
    pieces = [source.items[at : at + PIECE] for at in range(0, len(source), PIECE)]
    add = partial(sums_of, files=source.files, size_px=size_px, interpolation=interpolation, exact=exact)
    total: dict[str, Sums] = {}
    with closing(in_order(pieces, add, workers)) as summed:
        for _, sums in track(summed, total=len(source), what="statistics", weight=PIECE):
            for modality, one in sums.items():
                total[modality] = _plus(total[modality], one) if modality in total else one
    return {modality: _statistics(modality, sums) for modality, sums in sorted(total.items())}


def sums_of(
    items: list[Item], files: dict[str, Files], size_px: int, interpolation: Interpolation, exact: bool
) -> dict[str, Sums]:
    """Return the sums of some images by modality; this is what a worker does."""
    found: dict[str, Sums] = {}
    for item in items:
        image_HWC = read_pixels(item, files, None if exact else size_px)
        values_NC = resize_square(image_HWC, size_px, interpolation).reshape(-1, 3).astype(np.int64)
        sums = Sums(len(values_NC), tuple(values_NC.sum(0).tolist()), tuple((values_NC**2).sum(0).tolist()))
        found[item.modality] = _plus(found[item.modality], sums) if item.modality in found else sums
    return found


def _plus(one: Sums, other: Sums) -> Sums:
    sum_C, squares_C = (
        tuple(a + b for a, b in zip(first, second, strict=True))
        for first, second in ((one.sum_C, other.sum_C), (one.squares_C, other.squares_C))
    )
    return Sums(one.values + other.values, sum_C, squares_C)


def _statistics(modality: str, sums: Sums) -> Statistics:
    mean = [total / sums.values / 255 for total in sums.sum_C]
    # count * squares - sum^2 is exact in integers, where the textbook formula loses digits.
    pairs = zip(sums.sum_C, sums.squares_C, strict=True)
    std = [math.sqrt(sums.values * squares - total**2) / sums.values / 255 for total, squares in pairs]
    if min(std) < LEAST_STD:
        raise DataError(
            f"the images of {modality} are the same everywhere in a channel",
            expected="std of R, G, B of 1/255 at least",
            found=", ".join(f"{value:.5f}" for value in std),
            do="look at the images, or give `statistics` as two triples",
        )
    log.info("statistics of %s: mean %s, std %s", modality, _text(mean), _text(std))
    return Statistics(mean=mean, std=std)


def _text(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
