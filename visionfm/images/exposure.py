"""What of its range an image uses: constant, nearly black and flat images are readable, and rarely what was meant.

The commonest reason is twelve bits in sixteen: such pixels decode to 0..16 of 255.
"""

import numpy as np

from visionfm.images.pixels import Pixels

SAMPLED_PX = 512  # along a side; more say no more of a range
OUTLIERS = 0.001  # of the pixels, on either side: a label or a dead pixel makes no image bright
SMALL = 1 / 8  # of the range
BLACK = 1 / 16


def remark(image_HWC: Pixels, *, sixteen_bits: bool) -> str | None:
    """Return what is odd about the range of an image that was decoded to 8 bits, None where nothing is."""
    steps = [max(1, side // SAMPLED_PX) for side in image_HWC.shape[:2]]
    sample_HWC = image_HWC[:: steps[0], :: steps[1]]
    if image_HWC.min() == image_HWC.max():
        return f"constant: every pixel is {int(image_HWC.max())} of 255"
    low, high = (int(value) for value in np.quantile(sample_HWC, (OUTLIERS, 1 - OUTLIERS), method="nearest"))
    used = f"its pixels lie in {low} to {high} of 255"
    if sixteen_bits and high < SMALL * 255:
        brightest = int(image_HWC.max())
        bits = next((bits for bits in (10, 12, 14) if (brightest - 0.5) * 257 < 2**bits), None)
        if bits is not None:
            return f"dark for 16 bits: {used}; if its camera has {bits} bits, say `bits: {bits}`"
    if high < BLACK * 255:
        return f"nearly black: {used}"
    return f"flat: {used}" if high - low < SMALL * 255 else None
