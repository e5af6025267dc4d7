"""Where the crops of an image lie, and the lit circle of a fundus photograph; pure functions of a generator's draws.

The boxes are drawn as torchvision's RandomResizedCrop draws them, on the size the image has before any shrinking.
H/W px, C = 3 (RGB).
"""

import math
from typing import NamedTuple

import numpy as np

from visionfm.images.pixels import Pixels

ATTEMPTS = 10
CIRCLE_LOOK_PX = 256  # the circle is found on about this many rows and columns
LIT = 0.1  # of the brightest pixels: the surround of a fundus photograph is black, its noise stays below
LIT_SHARE = 0.02  # of a row or column that the circle crosses
SMALLEST_CIRCLE = 0.5  # of the shorter side: what is smaller is no fundus circle, and the whole image is taken


class Box(NamedTuple):
    """A rectangle of an image in px, not always at whole ones."""

    left: float
    top: float
    width: float
    height: float

    @property
    def short(self) -> float:
        """The shorter side."""
        return min(self.width, self.height)


def whole(width: int, height: int) -> Box:
    """Return the box of a whole image."""
    return Box(0, 0, width, height)


def draw_box(rng: np.random.Generator, region: Box, scale: list[float], ratio: list[float]) -> Box:
    """Return a random box inside `region`: `scale` bounds its share of the area, `ratio` its width to height."""
    width, height = round(region.width), round(region.height)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(scale[0], scale[1])
        aspect = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            return Box(region.left + left, region.top + top, w, h)
    # Ten misses (a long image, a large scale): the largest box in the middle whose ratio is allowed.
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = (width, round(width / aspect)) if width / height < aspect else (round(height * aspect), height)
    return Box(region.left + (width - w) // 2, region.top + (height - h) // 2, w, h)


def smallest_short(region: Box, scale: list[float], ratio: list[float]) -> float:
    """Return a lower bound of the shorter side of any box that `draw_box` returns."""
    stretch = max(ratio[1], 1 / ratio[0])
    return max(1.0, min(region.short, math.sqrt(region.width * region.height * scale[0] / stretch) - 1))


def lit_box(image_HWC: Pixels) -> Box:
    """Return the box around the lit circle of a fundus photograph, the whole image where there is none."""
    height, width = image_HWC.shape[:2]
    step = max(1, min(height, width) // CIRCLE_LOOK_PX)
    brightness_HW = image_HWC[::step, ::step].max(axis=2)
    lit_HW = brightness_HW > LIT * np.percentile(brightness_HW, 99)
    rows, columns = (np.flatnonzero(lit_HW.mean(axis=axis) > LIT_SHARE) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return whole(width, height)
    top, left = int(rows[0]) * step, int(columns[0]) * step
    found = Box(
        left, top, min(width, (int(columns[-1]) + 1) * step) - left, min(height, (int(rows[-1]) + 1) * step) - top
    )
    return found if found.short >= SMALLEST_CIRCLE * min(height, width) else whole(width, height)


def scaled(box: Box, by_x: float, by_y: float) -> Box:
    """Return a box on the same image of another size."""
    return Box(box.left * by_x, box.top * by_y, box.width * by_x, box.height * by_y)
