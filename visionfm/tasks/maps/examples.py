"""One image of a dense task with its truth, as arrays: read at the input's size, turned, warped, cropped.

Image, mask and points always move together. Shapes: S px of the square input, H/W px, K points (x, y; NaN where
absent).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionfm.data.columns import DenseSample
from visionfm.features.settings import TokenReading
from visionfm.images.geometry import Affine, flip_mask, flip_points, inside, resize_mask, resize_points, swapped_order
from visionfm.images.reading import read_checked
from visionfm.images.transforms import MIRRORED, flip, resize_square
from visionfm.tasks.maps.settings import DenseTarget

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Example:
    """An image with its mask (class indices) or its points; the truth may be unknown."""

    sample: DenseSample
    image_HWC: Image
    mask_HW: Image | None
    points_K2: npt.NDArray[np.float64]


def read_example(
    sample: DenseSample,
    root: Path,
    reading: TokenReading,
    targets: dict[str, DenseTarget],
    size: int,
    native: bool = False,
) -> Example:
    """Return an example resized to `size` px, or at its own resolution; DataError for files that changed."""
    image_HWC = read_image(sample, root, reading, None if native else size)
    height, width = image_HWC.shape[:2]
    values = next(iter(targets.values())).values
    mask_HW = sample.mask(root, values) if values and sample.mask_path is not None else None
    if mask_HW is not None:
        mask_HW = resize_mask(mask_HW, (width, height))
    points = [sample.points.get(name) for name in targets]
    points_K2 = np.array([(np.nan, np.nan) if at is None else at for at in points], np.float64).reshape(-1, 2)
    return Example(sample, image_HWC, mask_HW, resize_points(points_K2, (sample.width, sample.height), (width, height)))


def read_image(sample: DenseSample, root: Path, reading: TokenReading, size: int | None) -> Image:
    """Return an image as the encoder sees it: resized to `size` px, or, with None, every pixel of it."""
    exact = reading.exact_decode or size is None
    image_HWC = read_checked(root, sample.path, sample.image_id, reading, target_px=size, exact=exact)
    return image_HWC if size is None else resize_square(image_HWC, size, reading.interpolation)


# --- moving together ------------------------------------------------------------------------------------------------


def flipped(example: Example, view: str, order: list[int]) -> Example:
    """Return one of the exact flips; `order` says which point becomes which when left and right change places."""
    height, width = example.image_HWC.shape[:2]
    points_K2 = flip_points(example.points_K2, view, (width, height))
    if view in MIRRORED:
        points_K2 = points_K2[order]
    mask_HW = None if example.mask_HW is None else flip_mask(example.mask_HW, view)
    return replace(example, image_HWC=flip(example.image_HWC, view), mask_HW=mask_HW, points_K2=points_K2)


def swap_order(targets: dict[str, DenseTarget], swaps: list[list[str]]) -> list[int]:
    """Return the order of points after a mirror image."""
    return swapped_order(list(targets), swaps)


def cropped(example: Example, size: int, rng: np.random.Generator) -> Example:
    """Return a random square of `size` px at native resolution; smaller images are filled up with black."""
    padded = _padded(example, size)
    height, width = padded.image_HWC.shape[:2]
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    rows, columns = slice(top, top + size), slice(left, left + size)
    mask_HW = None if padded.mask_HW is None else padded.mask_HW[rows, columns]
    return replace(padded, image_HWC=padded.image_HWC[rows, columns], mask_HW=mask_HW)


def _padded(example: Example, size: int) -> Example:
    height, width = example.image_HWC.shape[:2]
    more = ((0, max(0, size - height)), (0, max(0, size - width)))
    mask_HW = None if example.mask_HW is None else np.pad(example.mask_HW, more)
    return replace(example, image_HWC=np.pad(example.image_HWC, (*more, (0, 0))), mask_HW=mask_HW)


# --- augmentation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ranges:
    chance: float
    degrees: float
    shift: float  # fraction of the side
    scale: float  # at most this, at least 1 over it
    light: float  # brightness, contrast, saturation: 1 +- this


RANGES = {"affine": _Ranges(0.5, 5, 0.05, 1.0, 0.0), "rich": _Ranges(1.0, 15, 0.05, 1.25, 0.25)}


def augmented(example: Example, augmentation: str, rng: np.random.Generator) -> Example:
    """Return an example under a random affine map and, in `rich`, colours; points that leave the image are absent."""
    ranges = RANGES[augmentation]
    if rng.random() >= ranges.chance:
        return example
    height, width = example.image_HWC.shape[:2]
    affine = Affine.about_centre(
        (width, height),
        degrees=rng.uniform(-ranges.degrees, ranges.degrees),
        scale=ranges.scale ** rng.uniform(-1, 1),
        shift_px=(rng.uniform(-1, 1) * ranges.shift * width, rng.uniform(-1, 1) * ranges.shift * height),
    )
    points_K2 = affine.points(example.points_K2)
    for k, (x, y) in enumerate(points_K2):
        if not inside(x, y, (width, height)):
            points_K2[k] = np.nan
    image_HWC = _relit(affine.image(example.image_HWC), ranges.light, rng)
    mask_HW = None if example.mask_HW is None else affine.mask(example.mask_HW)
    return replace(example, image_HWC=image_HWC, mask_HW=mask_HW, points_K2=points_K2)


def _relit(image_HWC: Image, light: float, rng: np.random.Generator) -> Image:
    if light == 0:
        return image_HWC
    brightness, contrast, saturation = 1 + light * rng.uniform(-1, 1, 3)
    pixels_HWC = image_HWC.astype(np.float32) * brightness
    grey_HW1 = pixels_HWC.mean(axis=2, keepdims=True)
    pixels_HWC = grey_HW1 + (pixels_HWC - grey_HW1) * saturation
    mean = pixels_HWC.mean()
    relit: Image = np.clip(mean + (pixels_HWC - mean) * contrast + 0.5, 0, 255).astype(np.uint8)
    return relit
