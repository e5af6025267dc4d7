"""Thinning of a mask to lines one pixel wide, after Guo and Hall (1989), with two subiterations.

The thinned mask has the connected parts and the holes of the mask (8-connected shapes), and lies within it.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
# Neighbours of a pixel from the one above, clockwise: row and column steps, one bit of its code each.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def skeleton(mask_HW: Mask) -> Mask:
    """Return the mask's skeleton."""
    thin_HW = np.zeros_like(mask_HW)
    if not mask_HW.any():
        return thin_HW
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    padded = np.pad(mask_HW[box], 1).astype(np.uint8)
    tables = _deletable()
    changed = True
    while changed:
        changed = False
        for table in tables:
            code = np.zeros((padded.shape[0] - 2, padded.shape[1] - 2), np.uint8)
            for bit, (down, right) in enumerate(_AROUND):
                rows_to, columns_to = padded.shape[0] - 1 + down, padded.shape[1] - 1 + right
                code |= padded[1 + down : rows_to, 1 + right : columns_to] << bit
            inner = padded[1:-1, 1:-1]
            delete = table[code] & (inner > 0)
            if delete.any():
                inner[delete] = 0
                changed = True
    thin_HW[box] = padded[1:-1, 1:-1] > 0
    return thin_HW


@cache
def _deletable() -> tuple[Mask, Mask]:
    """Return, for each of the two subiterations, which of the 256 neighbourhoods let their pixel go."""
    tables = np.zeros((2, 256), bool)
    for code in range(256):
        n, ne, e, se, s, sw, w, nw = (bool(code >> bit & 1) for bit in range(8))
        parts = sum((not n and (ne or e), not e and (se or s), not s and (sw or w), not w and (nw or n)))
        pairs = min(sum((nw or n, ne or e, se or s, sw or w)), sum((n or ne, e or se, s or sw, w or nw)))
        if parts == 1 and 2 <= pairs <= 3:
            tables[0, code] = not ((s or sw or not nw) and w)
            tables[1, code] = not ((n or ne or not se) and e)
    return tables[0], tables[1]
