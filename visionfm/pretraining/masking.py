"""Which patches of a crop the student does not see: the published block-wise and random masks.

Published system (docs/published-system.md), 3.4. All randomness comes from the generator that is given. G grid side in
patches.
"""

import math

import numpy as np
import numpy.typing as npt

from visionfm.pretraining.recipe import HidingRecipe

ATTEMPTS = 10  # at a block that fits; then the mask stays as it is
LOG_ASPECT = math.log(1 / 0.3)  # a block's aspect ratio lies between 0.3 and 1/0.3
Mask = npt.NDArray[np.bool_]


def draw_mask(recipe: HidingRecipe, side: int, epoch: int, rng: np.random.Generator) -> Mask:
    """Return the mask (G, G) of one global crop of side x side patches; True is hidden. `epoch` counts from 0."""
    ratio = draw_ratio(recipe, rng) if epoch >= recipe.mask_start_epoch else 0.0
    patches = ratio * side * side
    return block_mask(side, patches, rng) if recipe.mask_shape == "block" else random_mask(side, patches, rng)


def draw_ratio(recipe: HidingRecipe, rng: np.random.Generator) -> float:
    """Return the share of patches to hide: one of `mask_ratio`, each alike, moved by up to its `mask_spread`."""
    choice = int(rng.integers(len(recipe.mask_ratio)))
    ratio, spread = recipe.mask_ratio[choice], recipe.mask_spread[choice]
    return ratio + spread * (2 * rng.random() - 1) if spread > 0 else ratio


def block_mask(side: int, patches: float, rng: np.random.Generator) -> Mask:
    """Return a mask of rectangles that together hide at most `patches`; it ends early when no further one fits."""
    mask_GG = np.zeros((side, side), dtype=bool)
    hidden, smallest = 0, (side // 3) ** 2
    while hidden < patches:
        new = _place_block(mask_GG, smallest, patches - hidden, rng)
        if new == 0:
            break
        hidden += new
    return mask_GG


def _place_block(mask_GG: Mask, smallest: float, most: float, rng: np.random.Generator) -> int:
    """Hide one more rectangle of at most `most` new patches; return how many are new, 0 where none was found."""
    side = len(mask_GG)
    for _ in range(ATTEMPTS):
        area = smallest + (most - smallest) * rng.random()  # as published, also where `most` is the smaller one
        aspect = math.exp(LOG_ASPECT * (2 * rng.random() - 1))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= side or width >= side:
            continue
        top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
        block = mask_GG[top : top + height, left : left + width]
        new = height * width - int(block.sum())
        if 0 < new <= most:
            block[:] = True
            return new
    return 0


def random_mask(side: int, patches: float, rng: np.random.Generator) -> Mask:
    """Return a mask of int(patches) patches anywhere."""
    mask = np.zeros(side * side, dtype=bool)
    mask[: int(patches)] = True
    rng.shuffle(mask)
    return mask.reshape(side, side)
