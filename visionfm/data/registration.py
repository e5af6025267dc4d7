"""Registration: the affine map by which one thumbnail lies best on another, and how alike both are there.

The map is that of the largest correlation coefficient, by Gauss and Newton (ECC: Evangelidis and Psarakis 2008).
Axes: B pairs, S samples, V pixels with their border.
"""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.images.thumbnail import THUMBNAIL_PX

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LAST_STEP_PX = 0.02
FARTHEST = 0.2  # what the map may change by on the way: more is no copy
LEAST_COMMON = 0.6  # of the smaller lit field


@functools.cache
def _blur(px: float) -> Floats:
    """Return the matrix, (H, H), that blurs columns of a thumbnail."""
    from scipy import ndimage

    blur_HH: Floats = ndimage.gaussian_filter1d(np.eye(THUMBNAIL_PX), px, axis=0).astype(np.float32)
    return blur_HH


class Pairs(NamedTuple):
    """Blurred structures of which the first of each pair is moved, and of the second S samples that it is held against.

    A pixel of the first is its value, its slopes down and to the right, and 1 where it is lit; there is a border of 0.
    """

    image_BV4: Floats
    fixed_BS: Floats
    lit_BS: Bools
    place_S2: Doubles
    least_B: Doubles  # samples that both must be lit at

    @classmethod
    def of(cls, image_BHW: Floats, other_BHW: Floats, blur_px: float, every: int) -> "Pairs":
        """Return pairs that are compared at each n-th pixel of each n-th line."""
        blur_HH = _blur(blur_px)
        near_HH = (np.abs(np.subtract.outer(np.arange(THUMBNAIL_PX), np.arange(THUMBNAIL_PX))) < 2).astype(np.float32)
        soft_2 = [np.asarray(blur_HH @ one @ blur_HH.T, np.float32) for one in (image_BHW, other_BHW)]
        lit_2 = [near_HH @ np.abs(one) @ near_HH > 0 for one in (image_BHW, other_BHW)]
        slopes = np.gradient(soft_2[0], axis=(1, 2))
        image_BHW4 = np.stack([soft_2[0], *slopes, lit_2[0].astype(np.float32)], 3)
        image_BHW4 = np.pad(image_BHW4, ((0, 0), (1, 1), (1, 1), (0, 0)))
        lines = np.arange(every // 2, THUMBNAIL_PX, every)
        place_S2 = np.stack(np.meshgrid(lines, lines, indexing="ij"), 2).reshape(-1, 2).astype(np.float64)
        fixed_BS: Floats = soft_2[1][:, lines][:, :, lines].reshape(-1, len(lines) ** 2)
        lit_BS: Bools = lit_2[1][:, lines][:, :, lines].reshape(-1, len(lines) ** 2)
        least_B = LEAST_COMMON / every**2 * np.minimum(*(one.sum((1, 2)) for one in lit_2))
        return cls(image_BHW4.reshape(len(image_BHW), -1, 4), fixed_BS, lit_BS, place_S2, least_B)

    def _moved(self, map_B22: Doubles, begin_B2: Doubles, rows: Ints) -> tuple[Floats, Floats]:
        """Return moved pixels, (b, S, 4), and 1 where both are lit, (b, S); no sample where too few are."""
        side = THUMBNAIL_PX + 2
        place_bS2 = self.place_S2 @ map_B22[rows].transpose(0, 2, 1) + begin_B2[rows, None] + 1
        place_bS2 = np.clip(place_bS2, 0, side - 1.001, dtype=np.float32)
        corner_bS2 = place_bS2.astype(np.int64)
        part_bS2 = place_bS2 - corner_bS2
        at_bS = rows[:, None] * side**2 + corner_bS2[:, :, 0] * side + corner_bS2[:, :, 1]
        flat = self.image_BV4.reshape(-1, 4)
        down, right = part_bS2[:, :, :1], part_bS2[:, :, 1:]
        left_2, right_2 = ([flat.take(at_bS + by, 0) for by in (across, across + side)] for across in (0, 1))
        upper, lower = (one + (other - one) * right for one, other in zip(left_2, right_2, strict=True))
        moved_bS4: Floats = np.asarray(upper + (lower - upper) * down, np.float32)
        lit_bS = self.lit_BS[rows] & (moved_bS4[:, :, 3] > 0.99)
        lit_bS &= (lit_bS.sum(1) >= self.least_B[rows])[:, None]
        return moved_bS4, lit_bS.astype(np.float32)

    def alike(self, map_B22: Doubles, begin_B2: Doubles) -> Floats:
        """Return the correlation of each pair where both are lit; 0 where that is too small a part."""
        moved_BS4, lit_BS = self._moved(map_B22, begin_B2, np.arange(len(map_B22)))
        return _correlation(*(_centred(one, lit_BS) for one in (moved_BS4[:, :, 0], self.fixed_BS)))

    def aligned(self, map_B22: Doubles, begin_B2: Doubles, steps: int) -> tuple[Doubles, Doubles, Bools]:
        """Return the maps of the largest correlation, sought from those given, and where there is one."""
        middle = (THUMBNAIL_PX - 1) / 2
        unit_S2 = (self.place_S2 / middle - 1).astype(np.float32)
        first_B22, map_B22, begin_B2 = map_B22, map_B22.copy(), begin_B2.copy()
        found_B = np.ones(len(map_B22), bool)
        rows = np.arange(len(map_B22))
        for _ in range(steps):
            moved_bS4, lit_bS = self._moved(map_B22, begin_B2, rows)
            value_bS, wanted_bS = (_centred(one, lit_bS) for one in (moved_bS4[:, :, 0], self.fixed_BS[rows]))
            energy_b = np.maximum((value_bS**2).sum(1), 1e-6)
            gain_b = (wanted_bS * value_bS).sum(1) / energy_b  # contrast is no difference
            found_B[rows] &= gain_b > 0
            kept = np.flatnonzero(found_B[rows])
            rows, gain_b1 = rows[kept], gain_b[kept, None]
            if not len(rows):
                break
            slope_bS2, lit_bS = moved_bS4[kept, :, 1:3], lit_bS[kept]
            ways = [slope_bS2[:, :, axis] * by for axis in (0, 1) for by in (1, unit_S2[:, 0], unit_S2[:, 1])]
            ways_b6S = np.stack([_centred(way, lit_bS) for way in ways], 1)
            off_bS1 = (wanted_bS[kept] / gain_b1 - value_bS[kept])[:, :, None]
            square_b66 = (ways_b6S @ ways_b6S.transpose(0, 2, 1)).astype(np.float64) + 1e-3 * np.eye(6)
            step_b23 = np.linalg.solve(square_b66, (ways_b6S @ off_bS1).astype(np.float64)).reshape(-1, 2, 3)
            step_b22 = step_b23[:, :, 1:] / middle
            map_B22[rows] += step_b22
            begin_B2[rows] += step_b23[:, :, 0] - step_b22.sum(2) * middle
            found_B[rows] &= np.abs(map_B22[rows] - first_B22[rows]).max((1, 2)) <= FARTHEST
            rows = rows[found_B[rows] & (np.abs(step_b23).max((1, 2)) >= LAST_STEP_PX)]
        return map_B22, begin_B2, found_B


def _centred(value_BS: Floats, lit_BS: Floats) -> Floats:
    """Return values minus their mean where lit, 0 elsewhere."""
    mean_B1 = (value_BS * lit_BS).sum(1, keepdims=True) / np.maximum(lit_BS.sum(1, keepdims=True), 1)
    return np.asarray((value_BS - mean_B1) * lit_BS, np.float32)


def _correlation(one_BS: Floats, other_BS: Floats) -> Floats:
    energy_B = np.sqrt((one_BS**2).sum(1) * (other_BS**2).sum(1))
    return np.asarray((one_BS * other_BS).sum(1) / np.maximum(energy_B, 1e-6), np.float32)
