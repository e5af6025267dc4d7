"""From decoded pixels to the encoder's input: the square resize and the four exact flip views, pure functions of bytes.

The published system resizes to a square whatever the aspect (docs/published-system.md, 4.2), with PIL's antialiased
filters; its random flips have exactly four outcomes, which are made here by name. H/W px, S px of the square, C
channels.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Interpolation = Literal["bilinear", "bicubic"]
Pixels = npt.NDArray[np.uint8]

VIEWS = ("identity", "h", "v", "hv")
MIRRORED = ("h", "hv")  # those in which left is right
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_STEPS = {"identity": (1, 1), "h": (1, -1), "v": (-1, 1), "hv": (-1, -1)}  # (rows, columns)


def resize_square(image_HWC: Pixels, size_px: int, interpolation: Interpolation) -> Pixels:
    """Resize a uint8 (H, W, 3) image to (S, S, 3), aspect-distorting and antialiased, as published.

    Raises ValueError for another dtype or shape, an empty image, or an unknown interpolation.
    """
    if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3 or image_HWC.size == 0:
        raise ValueError(f"expected uint8 (H, W, 3), found {image_HWC.dtype} {image_HWC.shape}")
    if interpolation not in _FILTERS:
        raise ValueError(f"expected one of {sorted(_FILTERS)}, found {interpolation!r}")
    image = Image.fromarray(np.ascontiguousarray(image_HWC))
    return np.array(image.resize((size_px, size_px), _FILTERS[interpolation]))


def transform_name(size: int, interpolation: str, exact: bool) -> str:
    """Return the name under which features of this transform are cached: `square224-bilinear-fast`."""
    return f"square{size}-{interpolation}-{'exact' if exact else 'fast'}"


def flip(image_HWC: Pixels, view: str) -> Pixels:
    """Return one of VIEWS of an (H, W, ...) image: h mirrors left and right, v top and bottom, hv both."""
    if view not in _STEPS:
        raise ValueError(f"expected one of {VIEWS}, found {view!r}")
    rows, columns = _STEPS[view]
    return np.ascontiguousarray(image_HWC[::rows, ::columns])
