"""Resizes absolute position embeddings to another image size, by the published load-time rule (bicubic, no antialias).

Shape legend: T prefix tokens + G*G patches, D width.
"""

import math
from typing import TYPE_CHECKING

from visionfm.errors import DataError

if TYPE_CHECKING:
    import torch


def grid_side(tokens: int, prefix: int) -> int | None:
    """Return the side of the square grid that `tokens` position embeddings with `prefix` others make up, if they do."""
    side = math.isqrt(max(0, tokens - prefix))
    return side if side > 0 and side * side == tokens - prefix else None


def resize_positions(positions_1TD: "torch.Tensor", prefix: int, side: int) -> "torch.Tensor":
    """Return position embeddings for a grid of `side` x `side` patches; the `prefix` first ones (CLS) stay as they are.

    VisionFM's rule for checkpoints: bicubic, align_corners=False, to the wanted size. It is used for every encoder with
    absolute position embeddings; those with rotary ones need none.
    """
    import torch

    stored = grid_side(positions_1TD.shape[1], prefix) if positions_1TD.ndim == 3 else None
    if stored is None:
        raise DataError(
            "the position embedding is of no square image",
            expected=f"{prefix} + a square number of tokens",
            found=tuple(positions_1TD.shape),
        )
    if stored == side:
        return positions_1TD
    others, patches = positions_1TD[:, :prefix], positions_1TD[:, prefix:]
    grid_1DGG = patches.float().reshape(1, stored, stored, -1).permute(0, 3, 1, 2)
    grid_1DGG = torch.nn.functional.interpolate(grid_1DGG, size=(side, side), mode="bicubic", align_corners=False)
    resized = grid_1DGG.permute(0, 2, 3, 1).reshape(1, side * side, -1).to(positions_1TD.dtype)
    return torch.cat([others, resized], dim=1)
