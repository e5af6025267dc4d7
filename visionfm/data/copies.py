"""Near-copies among images: the same photograph re-encoded, resized, cut at its borders, turned a little, mirrored or
made brighter.

Candidates are nearest neighbours of small integer descriptors of the thumbnails that `index` keeps; what decides is the
correlation of the fine structure of two thumbnails that were laid on each other. All images of eyes share their border
and shading: both are taken away first; and what the images of a set have in common (disc, arcades) counts little in its
descriptors. Axes: N, M images, P = 64 * 64 px of a thumbnail, K numbers of a descriptor, B candidates, S samples.
"""

import functools
import io
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.data.registration import Pairs
from visionfm.images.thumbnail import THUMBNAIL_PX

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Move = tuple[float, float, float, float]
Laid = tuple[Doubles, Doubles]  # (..., 2, 2) and (..., 2): affine maps of places (y, x)

STEPS, LEVELS = 10, 31  # per standard deviation of an image's structure; it is cut at 3.1 of them
CYCLES = 8.5  # over the thumbnail: finer waves do not survive small turns
BLOCK = 2048  # images at once
# Turned (degrees), scaled, shifted (px): how a thumbnail is moved before it is compared. Smaller differences the
# descriptor tolerates. A cut of one border enlarges and shifts, so that both stand together.
MOVES: tuple[Move, ...] = (
    *((turn, 1.0, 0.0, 0.0) for turn in (-3.0, 0.0, 3.0)),
    *((0.0, 1.0, right, down) for right, down in ((-3.0, 0.0), (3.0, 0.0), (0.0, -3.0), (0.0, 3.0))),
    *((0.0, *move) for move in product((1 / 1.06, 1.06), (-2.0, 2.0), (-2.0, 2.0))),
)
STILL = 1  # the move that leaves a thumbnail as it is
WAYS = [(move, mirrored) for mirrored in (False, True) for move in MOVES]
LENGTH, WHOLE = 4096, 2**20  # of an image's waves; one in the map that whitens: both are whole numbers
UNIT = 100  # the length of a descriptor: products of two are whole numbers, exact in any order of adding
PRIOR, FLOOR = 50, 0.1  # images without common structure that each set is joined by; of the mean variance of a wave
SQUARE = 512  # images of a block of products, so that it stays in the cache
NEIGHBOURS = 6  # of each image that are looked at closely
LEAST_ALIKE = 0.45  # of descriptors
LAID = 2  # of each image's candidates that are laid on it: those with the largest correlation by shifts alone
LEAST_PEAK, HIGH_PEAK = 0.4, 0.85  # of the correlation by shifts alone; from the second on, each candidate is laid
LARGEST_SHIFT_PX = 8
COARSE_PX, FINE_PX = 1.8, 0.7  # blur while one is laid on the other, and of what is compared then
# Blur, of how many lines one is looked at, steps of Newton, and the correlation that is asked for then. Real copies
# reach 0.94 of either; of strangers one in a hundred comes through the first, which is all that they cost.
STAGES = ((COARSE_PX, 4, 2, 0.9), (1.0, 1, 6, 0.9))
LEAST_START = 0.95  # from 0.9 on, two OCT scans of strangers, one mirrored, are called copies
SAME = 0.86  # correlation of what is laid on each other
DECIMALS = 4  # of correlations, where they decide: their last bits differ between processors


class Copy(NamedTuple):
    """Two rows that show the same photograph; `score` in [0, 1] is the correlation of their fine structure."""

    one: int
    other: int
    score: float
    mirrored: bool


def structure(thumbnails: Sequence[bytes]) -> Bytes:
    """Return the fine structure of thumbnails, (N, P) in [-31, 31], 0 outside of the lit field.

    Brightness and contrast are those of the neighbourhood, so that shading and gamma do not count.
    """
    from PIL import Image
    from scipy import ndimage

    found = np.zeros((len(thumbnails), THUMBNAIL_PX**2), np.int8)
    for start in range(0, len(thumbnails), BLOCK):
        part = thumbnails[start : start + BLOCK]
        light_NHW = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("L")) for one in part]).astype(np.float32)
        dark_N11 = np.maximum(8, 0.06 * light_NHW.max((1, 2), keepdims=True))
        lit_NHW = ndimage.maximum_filter(light_NHW > dark_N11, (1, 5, 5), mode="constant")
        lit_NHW = ndimage.minimum_filter(lit_NHW, (1, 11, 11), mode="constant").astype(np.float32)

        def around(
            values_NHW: Floats,
            lit_NHW: Floats = lit_NHW,
        ) -> Floats:
            """Return the mean of the lit pixels around each one, of about 6 px on either side."""
            size = (1, 7, 7)
            twice = [ndimage.uniform_filter(ndimage.uniform_filter(one, size), size) for one in (values_NHW, lit_NHW)]
            mean: Floats = np.asarray(twice[0] / np.maximum(twice[1], 1e-3), np.float32)
            return mean

        fine_NHW = (light_NHW - around(light_NHW * lit_NHW)) * lit_NHW
        spread_NHW = np.sqrt(np.maximum(around(around(fine_NHW**2) * lit_NHW), 0)) + 2
        levels_NHW = np.clip(np.rint(STEPS * fine_NHW / spread_NHW), -LEVELS, LEVELS) * lit_NHW
        found[start : start + len(part)] = levels_NHW.reshape(len(part), -1).astype(np.int8)
    return found


@functools.cache
def _waves(move: Move, mirrored: bool) -> Floats:
    """Return the waves that a moved image is held against, (P, K) of whole numbers in [-31, 31]."""
    turn, scale, right, down = move
    middle = (THUMBNAIL_PX - 1) / 2
    y_HW, x_HW = np.mgrid[:THUMBNAIL_PX, :THUMBNAIL_PX].astype(np.float64) - middle
    x_HW = -x_HW if mirrored else x_HW
    sine, cosine = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
    x, y = scale * (cosine * x_HW - sine * y_HW) + right, scale * (sine * x_HW + cosine * y_HW) + down
    place_x, place_y = (np.pi * (one + middle + 0.5) / THUMBNAIL_PX for one in (x, y))
    waves = [
        np.cos(across * place_x) * np.cos(along * place_y) * np.exp(-0.5 * (1.5 * np.pi * r / THUMBNAIL_PX) ** 2)
        for across, along in product(range(int(CYCLES) + 1), repeat=2)
        if 0.5 < (r := np.hypot(across, along)) <= CYCLES
    ]
    whole_PK: Floats = np.rint(LEVELS * np.stack([wave.reshape(-1) for wave in waves], 1)).astype(np.float32)
    return whole_PK


def _measured(structure_NP: Bytes, move: Move, mirrored: bool) -> Floats:
    """Return the waves of moved images, (N, K) of whole numbers, each row of length 4,096 but for rounding.

    0 for an image without structure.
    """
    found = [np.zeros((0, _waves(move, mirrored).shape[1]), np.float32)]
    for start in range(0, len(structure_NP), BLOCK):
        wave_NK = structure_NP[start : start + BLOCK].astype(np.float32) @ _waves(move, mirrored)
        length_N1 = np.sqrt((wave_NK.astype(np.float64) ** 2).sum(1, keepdims=True))
        found.append(np.rint(LENGTH * wave_NK / np.maximum(length_N1, 1)).astype(np.float32))
    return np.concatenate(found)


class Common(NamedTuple):
    """What the images of a set have in common: the mean of their waves, and the map that makes all waves count alike.

    A small set is taken to have little in common: the mean and covariance are those of its images and `PRIOR` others.
    Both are whole numbers, so that every sum with them is exact: which images are candidates does not depend on the
    processor, but for a root that falls on the middle between two whole numbers.
    """

    mean_K: Doubles
    whiten_KK: Doubles

    @classmethod
    def of(cls, waves_NK: Floats) -> "Common":
        """Return what the images that have any structure share."""
        seen_NK = waves_NK[np.any(waves_NK, axis=1)].astype(np.float64)
        number, waves = len(seen_NK), waves_NK.shape[1]
        mean_K = np.rint(seen_NK.sum(0) / (number + PRIOR))
        apart_NK = seen_NK - mean_K
        covariance_KK = apart_NK.T @ apart_NK + PRIOR * np.floor(LENGTH**2 / waves) * np.eye(waves)
        level = np.floor(FLOOR * np.trace(covariance_KK) / waves)
        value_K, axis_KK = np.linalg.eigh(covariance_KK + level * np.eye(waves))
        return cls(mean_K, np.rint(WHOLE * (axis_KK * np.sqrt(value_K[0] / value_K)) @ axis_KK.T))

    def descriptors(self, waves_NK: Floats) -> Floats:
        """Return descriptors, (N, K) of whole numbers, each of length 100 but for rounding; 0 without structure."""
        own_NK = np.rint((waves_NK - self.mean_K) @ self.whiten_KK / WHOLE * 16)
        length_N1 = np.sqrt((own_NK**2).sum(1, keepdims=True))
        whole_NK: Floats = np.rint(UNIT * own_NK / np.maximum(length_N1, 1)).astype(np.float32)
        whole_NK[~np.any(waves_NK, axis=1)] = 0
        return whole_NK


def search(
    structure_NP: Bytes, other_MP: Bytes | None = None, file_N: Ints | None = None, file_M: Ints | None = None
) -> list[Copy]:
    """Return the copies among the images of one set, or between those of two, in order.

    `file_N` and `file_M` number the files that images stand in: those of one file are never compared, so that a
    volume's slices do not stand in each other's way.
    """
    from threadpoolctl import threadpool_limits

    inside = other_MP is None
    other_MP = structure_NP if other_MP is None else other_MP
    if file_N is None or (file_M is None and not inside):
        file_N, file_M = np.arange(len(structure_NP)), -1 - np.arange(len(other_MP))
    file_M = file_N if inside or file_M is None else file_M
    with threadpool_limits(limits=1):  # the last bits of a sum can depend on the number of threads
        candidates = _candidates(structure_NP, other_MP, inside, file_N, file_M)
        shifts = [(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))]
        shifts += [_shifted(structure_NP, other_MP, block) for block in _blocks(candidates)]
        shifted_B2, peak_B = (np.concatenate(of) for of in zip(*shifts, strict=True))
        wanted_B = (_rank(candidates[:, 0], peak_B) < LAID) | (_rank(candidates[:, 1], peak_B) < LAID)
        wanted_B = (wanted_B & (peak_B >= LEAST_PEAK)) | (peak_B >= HIGH_PEAK)

        def laid(chosen_B: Bools) -> list[Copy]:
            blocks = zip(_blocks(candidates[chosen_B]), _blocks(shifted_B2[chosen_B]), strict=True)
            return [copy for both in blocks for copy in _compared(structure_NP, other_MP, *both)]

        found = laid(wanted_B)
        # An image that has copies may have more of them than were laid on it: the others of its candidates are, too.
        crowded_B = np.isin(candidates[:, 0], [one.one for one in found])
        crowded_B |= np.isin(candidates[:, 1], [one.other for one in found])
        if inside:
            crowded_B |= np.isin(candidates[:, 0], [one.other for one in found])
            crowded_B |= np.isin(candidates[:, 1], [one.one for one in found])
        return sorted([*found, *laid(crowded_B & ~wanted_B & (peak_B >= LEAST_PEAK))])


def _rank(rows_B: Ints, peak_B: Floats) -> Ints:
    """Return the rank of each candidate among those of its row, 0 the one with the largest peak."""
    order_B = np.lexsort((np.arange(len(rows_B)), -peak_B, rows_B))
    sorted_B = rows_B[order_B]
    rank_B = np.empty(len(rows_B), np.int64)
    rank_B[order_B] = np.arange(len(rows_B)) - np.searchsorted(sorted_B, sorted_B)
    return rank_B


# --- candidates -----------------------------------------------------------------------------------------------------


class _Nearest:
    """The nearest neighbours of each image that were met so far."""

    def __init__(self, count: int) -> None:
        self.alike_NK = np.full((count, NEIGHBOURS), LEAST_ALIKE * UNIT**2, np.float32)
        self.other_NK = np.full((count, NEIGHBOURS), -1, np.int64)

    def meet(self, rows: Ints, alike: Floats, others: Ints) -> None:
        """Take in further neighbours; of several of one row the most alike, among equals the one named first."""
        order = np.lexsort((others, -alike, rows))
        rows, alike, others = rows[order], alike[order], others[order]
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        rank = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
        kept = rank < NEIGHBOURS
        rows, alike, others, rank = rows[kept], alike[kept], others[kept], rank[kept]
        touched, place = np.unique(rows, return_inverse=True)
        width = 2 * NEIGHBOURS
        all_alike = np.full((len(touched), width), -1, np.float32)
        all_others = np.full((len(touched), width), -1, np.int64)
        all_alike[:, :NEIGHBOURS], all_others[:, :NEIGHBOURS] = self.alike_NK[touched], self.other_NK[touched]
        all_alike[place, NEIGHBOURS + rank], all_others[place, NEIGHBOURS + rank] = alike, others
        best = np.lexsort((all_others, -all_alike), axis=1)[:, :NEIGHBOURS]
        self.alike_NK[touched] = np.take_along_axis(all_alike, best, 1)
        self.other_NK[touched] = np.take_along_axis(all_others, best, 1)

    def pairs(self) -> Ints:
        """Return rows (image, neighbour)."""
        rows, places = np.nonzero(self.other_NK >= 0)
        return np.stack([rows, self.other_NK[rows, places]], 1)


def _candidates(structure_NP: Bytes, other_MP: Bytes, inside: bool, file_N: Ints, file_M: Ints) -> Ints:
    """Return rows (one, other, move, mirrored) of the nearest neighbours, in order, each pair once in its best way."""
    plain_NK = _measured(structure_NP, MOVES[STILL], False)
    plain_MK = plain_NK if inside else _measured(other_MP, MOVES[STILL], False)
    common = Common.of(plain_NK if inside else np.concatenate([plain_NK, plain_MK]))
    plain_MK = common.descriptors(plain_MK)
    near = _Nearest(len(structure_NP))
    near_other = near if inside else _Nearest(len(other_MP))
    moved_WNK = np.empty((len(WAYS), *plain_NK.shape), np.int8)
    for start in range(0, len(structure_NP), SQUARE):
        part = structure_NP[start : start + SQUARE]
        moved_WnK = np.stack([common.descriptors(_measured(part, *way)) for way in WAYS])
        moved_WNK[:, start : start + SQUARE] = moved_WnK
        met = list(_met(moved_WnK, plain_MK, start, inside, near.alike_NK[:, -1], near_other.alike_NK[:, -1]))
        if met:
            rows, columns, alike = (np.concatenate(of) for of in zip(*met, strict=True))
            apart = file_N[rows] != file_M[columns]
            near.meet(rows[apart], alike[apart], columns[apart])
            near_other.meet(columns[apart], alike[apart], rows[apart])
    pairs = [np.sort(near.pairs(), 1)] if inside else [near.pairs(), near_other.pairs()[:, ::-1]]
    found = np.unique(np.concatenate(pairs), axis=0)
    ways = [np.zeros(0, np.int64), *(_best_way(moved_WNK, plain_MK, block) for block in _blocks(found))]
    way_B = np.concatenate(ways)
    return np.column_stack([found, way_B % len(MOVES), way_B // len(MOVES)])


def _met(
    moved_WnK: Floats, plain_MK: Floats, start: int, inside: bool, limit_N: Floats, limit_M: Floats
) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Yield rows, columns and likeness of pairs in a block of rows that are nearer than what either has met so far."""
    least_n = limit_N[start : start + SQUARE]
    for begin in range(start if inside else 0, len(plain_MK), SQUARE):
        plain_KM = plain_MK[begin : begin + SQUARE].T
        alike_nM = moved_WnK[0] @ plain_KM
        in_way_nM = np.empty_like(alike_nM)
        for moved_nK in moved_WnK[1:]:
            np.maximum(alike_nM, np.matmul(moved_nK, plain_KM, out=in_way_nM), out=alike_nM)
        if inside and start == begin:
            alike_nM = np.triu(alike_nM, 1)
        near_nM = (alike_nM > least_n[:, None]) | (alike_nM > limit_M[begin : begin + SQUARE])
        rows, columns = np.nonzero(near_nM)
        if len(rows):
            yield rows + start, columns + begin, alike_nM[rows, columns]


def _best_way(moved_WNK: Bytes, plain_MK: Floats, pairs: Ints) -> Ints:
    """Return the number of the way in which each pair is most alike, among equals the first."""
    moved_WBK, plain_BK = moved_WNK[:, pairs[:, 0]].astype(np.float32), plain_MK[pairs[:, 1]]
    return np.asarray(np.einsum("wbk,bk->bw", moved_WBK, plain_BK).argmax(1))


def _blocks(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), 256):
        yield rows[start : start + 256]


# --- decision -------------------------------------------------------------------------------------------------------


def _compared(structure_NP: Bytes, other_MP: Bytes, candidates: Ints, shifted_B2: Ints) -> Iterator[Copy]:
    """Yield those candidates that are copies.

    The affine map from one to the other is that of the largest correlation coefficient, by Gauss and Newton from coarse
    to fine (ECC: Evangelidis and Psarakis 2008), sought from the move and shift given.
    """
    side = (-1, THUMBNAIL_PX, THUMBNAIL_PX)
    image_BHW: Floats = structure_NP[candidates[:, 0]].astype(np.float32).reshape(side)
    other_BHW: Floats = other_MP[candidates[:, 1]].astype(np.float32).reshape(side)
    image_BHW = np.where(candidates[:, 3, None, None] > 0, image_BHW[:, :, ::-1], image_BHW)
    maps = [_inverse(move) for move in MOVES]
    map_B22, begin_B2 = (np.stack([one[part] for one in maps])[candidates[:, 2]] for part in (0, 1))
    begin_B2 = begin_B2 - (map_B22 @ shifted_B2[:, :, None])[:, :, 0]
    for blur_px, every, steps, least in STAGES:
        pair = Pairs.of(image_BHW, other_BHW, blur_px, every)
        # Along layers all places look alike, so that a map may run away: then its start counts, if that is very alike.
        sought_B22, sought_B2, found_B = pair.aligned(map_B22, begin_B2, steps)
        least_B = np.where(found_B, least, LEAST_START)
        map_B22 = np.where(found_B[:, None, None], sought_B22, map_B22)
        begin_B2 = np.where(found_B[:, None], sought_B2, begin_B2)
        kept = np.flatnonzero(np.round(pair.alike(map_B22, begin_B2), DECIMALS) >= least_B)
        image_BHW, other_BHW, candidates = image_BHW[kept], other_BHW[kept], candidates[kept]
        map_B22, begin_B2 = map_B22[kept], begin_B2[kept]
        if not len(kept):
            return
    score_B = Pairs.of(image_BHW, other_BHW, FINE_PX, 1).alike(map_B22, begin_B2)
    for (one, other, _, mirrored), score in zip(candidates.tolist(), score_B.tolist(), strict=True):
        if round(score, DECIMALS) >= SAME:
            yield Copy(one, other, round(score, 3), bool(mirrored))


def _inverse(move: Move) -> Laid:
    """Return the map from places (y, x) of the moved image to those of the image itself."""
    turn, scale, right, down = move
    sine, cosine = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
    middle = np.full(2, (THUMBNAIL_PX - 1) / 2)
    map_22 = np.array([[cosine, -sine], [sine, cosine]]) / scale
    return map_22, middle - map_22 @ (middle + [down, right])


@functools.cache
def _places(move: int, mirrored: int) -> Ints:
    """Return for each pixel of a moved image the nearest one of the image itself; P where there is none."""
    map_22, begin_2 = _inverse(MOVES[move])
    place_2P = np.mgrid[:THUMBNAIL_PX, :THUMBNAIL_PX].reshape(2, -1)
    y_P, x_P = np.rint(map_22 @ place_2P + begin_2[:, None]).astype(np.int64)
    inside_P = (y_P >= 0) & (y_P < THUMBNAIL_PX) & (x_P >= 0) & (x_P < THUMBNAIL_PX)
    x_P = THUMBNAIL_PX - 1 - x_P if mirrored else x_P
    return np.where(inside_P, y_P * THUMBNAIL_PX + x_P, THUMBNAIL_PX**2)


def _shifted(structure_NP: Bytes, other_MP: Bytes, candidates: Ints) -> tuple[Ints, Floats]:
    """Return each candidate's shift (y, x) of the largest correlation, (B, 2) px, and that correlation, (B,)."""
    from scipy import fft

    places_BP = np.stack([_places(move, mirrored) for move, mirrored in candidates[:, 2:].tolist()])
    whole_BP = np.pad(structure_NP[candidates[:, 0]], ((0, 0), (0, 1))).astype(np.float32)
    moved_BHW = np.take_along_axis(whole_BP, places_BP, 1).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)
    fixed_BHW = other_MP[candidates[:, 1]].astype(np.float32).reshape(moved_BHW.shape)
    y_H, x_W = np.fft.fftfreq(THUMBNAIL_PX), np.fft.rfftfreq(THUMBNAIL_PX)
    blur_HW = np.exp(-2 * (np.pi * COARSE_PX) ** 2 * (y_H[:, None] ** 2 + x_W**2)).astype(np.float32)
    waves_2 = [fft.rfft2(one) * blur_HW for one in (moved_BHW, fixed_BHW)]
    twice_W = np.where((x_W == 0) | (x_W == 0.5), 1, 2)  # the waves that a real transform leaves out
    energy_2 = [(np.abs(waves) ** 2 * twice_W).sum((1, 2)) / THUMBNAIL_PX**2 for waves in waves_2]
    correlation_BHW = fft.irfft2(waves_2[1] * np.conj(waves_2[0]), s=moved_BHW.shape[1:])
    near = np.r_[-LARGEST_SHIFT_PX : LARGEST_SHIFT_PX + 1]
    peaks_BS = correlation_BHW[:, near][:, :, near].reshape(len(candidates), -1)
    best_B = peaks_BS.argmax(1)
    shift_B2 = near[np.stack(np.unravel_index(best_B, (len(near), len(near))), 1)]
    peak_B = peaks_BS[np.arange(len(best_B)), best_B] / np.maximum(np.sqrt(energy_2[0] * energy_2[1]), 1e-6)
    return shift_B2, np.round(peak_B, DECIMALS).astype(np.float32)
