"""Images at their own resolution: overlapping square tiles, whose logits are blended by weights that fall to the edges.

Shapes: H/W px of the image, S px of a tile, K outputs.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from visionfm.images.transforms import VIEWS
from visionfm.tasks.maps.tokens import Wanted

Logits = Callable[[Sequence[Wanted]], torch.Tensor]
LEAST_WEIGHT = 1e-3


def starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where tiles start along one side: evenly, the last one at the edge, overlapping at least as asked."""
    if length <= size:
        return [0]
    count = 1 + math.ceil((length - size) / (size * (1 - overlap)))
    return [round(at * (length - size) / (count - 1)) for at in range(count)]


def weights(size: int) -> torch.Tensor:
    """Return a tile's weights (S, S): highest in the middle, nearly nothing at the edges."""
    ramp_S = 1 - (2 * (torch.arange(size) + 0.5) / size - 1).abs()
    ramp_S = ramp_S.clamp(min=LEAST_WEIGHT)
    return ramp_S[:, None] * ramp_S[None, :]


def tiled_logits(
    logits_of: Logits, dataset: str, image_HWC: npt.NDArray[np.uint8], size: int, overlap: float, view: str = VIEWS[0]
) -> torch.Tensor:
    """Return logits (1, K, H, W) of a whole image, tile by tile; a smaller image is filled up with black."""
    height, width = image_HWC.shape[:2]
    padded_HWC = np.pad(image_HWC, ((0, max(0, size - height)), (0, max(0, size - width)), (0, 0)))
    weight_SS = weights(size)
    total: torch.Tensor | None = None
    weight_HW = torch.zeros(padded_HWC.shape[:2])
    for top in starts(padded_HWC.shape[0], size, overlap):
        for left in starts(padded_HWC.shape[1], size, overlap):
            place = (slice(top, top + size), slice(left, left + size))
            wanted = Wanted(dataset, None, view, np.ascontiguousarray(padded_HWC[place]))
            logits_KSS = unflipped(logits_of([wanted])[0], view).cpu()
            if total is None:
                total = torch.zeros(len(logits_KSS), *padded_HWC.shape[:2])
            total[:, place[0], place[1]] += logits_KSS * weight_SS
            weight_HW[place] += weight_SS
    assert total is not None
    return (total / weight_HW)[None, :, :height, :width]


def unflipped(maps: torch.Tensor, view: str) -> torch.Tensor:
    """Undo a view's flip of maps (..., H, W)."""
    dims = [dim for name, dim in (("v", -2), ("h", -1)) if name in view and view != VIEWS[0]]
    return maps.flip(dims) if dims else maps
