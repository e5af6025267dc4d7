"""How points and masks follow their image: EXIF rotation, resizing, flips and affine maps; pure functions of numpy.

Coordinates are pixels, x to the right and y down; (0, 0) is the CENTRE of the first pixel, so that a point at (c, r)
lies in `array[r, c]`, and an image of width W covers x from -0.5 to W - 0.5. Shapes: N points, H/W px, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionfm.images.transforms import flip

Points = npt.NDArray[np.float64]  # (N, 2) x, y
Array = npt.NDArray[Any]
Size = tuple[int, int]  # width, height


def inside(x: float, y: float, size_wh: Size) -> bool:
    """Tell whether a point lies on the image, its border included."""
    return -0.5 <= x <= size_wh[0] - 0.5 and -0.5 <= y <= size_wh[1] - 0.5


# --- EXIF -----------------------------------------------------------------------------------------------------------


def upright_point(x: float, y: float, orientation: int, upright_wh: Size) -> tuple[float, float]:
    """Return where a point of the stored pixels lies in the upright image (see `pixels.oriented`)."""
    width, height = upright_wh
    if orientation >= 5:
        x, y = y, x
    if orientation in (2, 3, 6, 7):
        x = width - 1 - x
    if orientation in (3, 4, 7, 8):
        y = height - 1 - y
    return x, y


# --- resizing -------------------------------------------------------------------------------------------------------


def resize_points(points_N2: Points, from_wh: Size, to_wh: Size) -> Points:
    """Return points after a resize of their image, which keeps edges on edges."""
    scale_2 = np.asarray(to_wh, np.float64) / np.asarray(from_wh, np.float64)
    return (np.asarray(points_N2, np.float64) + 0.5) * scale_2 - 0.5


def resize_mask(mask_HW: npt.NDArray[np.uint8], to_wh: Size) -> npt.NDArray[np.uint8]:
    """Return a map of class indices at another size: each pixel takes the class at its centre."""
    if mask_HW.shape[::-1] == to_wh:
        return mask_HW
    return np.asarray(Image.fromarray(mask_HW).resize(to_wh, Image.Resampling.NEAREST))


# --- flips ----------------------------------------------------------------------------------------------------------


def flip_points(points_N2: Points, view: str, size_wh: Size) -> Points:
    """Return points after one of the exact flips: h mirrors left and right, v top and bottom, hv both."""
    flipped_N2 = np.array(points_N2, np.float64)
    if view in ("h", "hv"):
        flipped_N2[:, 0] = size_wh[0] - 1 - flipped_N2[:, 0]
    if view in ("v", "hv"):
        flipped_N2[:, 1] = size_wh[1] - 1 - flipped_N2[:, 1]
    return flipped_N2


def flip_mask(mask_HW: Array, view: str) -> Array:
    """Return a mask after one of the exact flips."""
    return flip(mask_HW, view)


def swapped_order(names: Sequence[str], swaps: Sequence[Sequence[str]]) -> list[int]:
    """Return the order of points after a mirror image: `order[i]` is the point that has become point i.

    A pair such as (left spur, right spur) changes places, for what was on the left now is on the right.
    """
    partner = {one: other for pair in swaps for one, other in (tuple(pair), tuple(pair)[::-1])}
    return [names.index(partner.get(name, name)) for name in names]


# --- affine maps ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Affine:
    """A map of the plane, `x' = matrix_23 @ (x, y, 1)`, for points, images and masks alike."""

    matrix_23: Points

    @classmethod
    def about_centre(
        cls, size_wh: Size, *, degrees: float = 0.0, scale: float = 1.0, shift_px: tuple[float, float] = (0.0, 0.0)
    ) -> "Affine":
        """Return a rotation (clockwise as seen), scaling and shift that turn about the image's centre."""
        turn = np.deg2rad(degrees)
        linear_22 = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        centre_2 = (np.asarray(size_wh, np.float64) - 1) / 2
        return cls(np.column_stack([linear_22, centre_2 - linear_22 @ centre_2 + shift_px]))

    def points(self, points_N2: Points) -> Points:
        """Return where points go."""
        return np.asarray(points_N2, np.float64) @ self.matrix_23[:, :2].T + self.matrix_23[:, 2]

    def image(self, image_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return an image, uint8 (H, W, 3), under the map; black comes in from outside."""
        return self._warped(Image.fromarray(image_HWC), Image.Resampling.BILINEAR, 0)

    def mask(self, mask_HW: npt.NDArray[np.uint8], outside: int = 0) -> npt.NDArray[np.uint8]:
        """Return a map of class indices under the map; `outside` comes in from outside."""
        return self._warped(Image.fromarray(mask_HW), Image.Resampling.NEAREST, outside)

    def _warped(self, image: Image.Image, resampling: Image.Resampling, outside: int) -> npt.NDArray[np.uint8]:
        inverse_33 = np.linalg.inv(np.vstack([self.matrix_23, [0, 0, 1]]))
        # Pillow's own coordinates have pixel centres at 0.5; ours have them at 0.
        inverse_33[:2, 2] += 0.5 - inverse_33[:2, :2] @ (0.5, 0.5)
        data = tuple(inverse_33[:2].ravel().tolist())
        return np.asarray(image.transform(image.size, Image.Transform.AFFINE, data, resampling, fillcolor=outside))
