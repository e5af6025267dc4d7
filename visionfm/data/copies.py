"""Near-copies among images: the same photograph re-encoded, resized, cut at its borders, turned a little, mirrored or
made brighter.

Candidates are nearest neighbours of small integer descriptors of the thumbnails that `index` keeps; what decides is the
correlation of the fine structure of two thumbnails that were laid on each other. All images of eyes share their border
and shading: both are taken away first. Axes: N, M images, P = 64 * 64 px of a thumbnail, K numbers of a descriptor.
"""

import functools
import io
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.images.thumbnail import THUMBNAIL_PX

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Move = tuple[float, float, float, float]
Laid = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # (2, 2) and (2,): an affine map of places (y, x)

STEPS, LEVELS = 10, 31  # per standard deviation of an image's structure; it is cut at 3.1 of them
CYCLES = 8.5  # over the thumbnail: finer waves do not survive small turns
BLOCK = 2048  # images at once
# Turned (degrees), scaled, shifted (px): how a thumbnail is moved before it is compared. Smaller differences the
# descriptor tolerates. A cut of one border enlarges and shifts, so that both stand together.
MOVES: tuple[Move, ...] = (
    *((turn, 1.0, 0.0, 0.0) for turn in (-3.0, 0.0, 3.0)),
    *((0.0, 1.0, right, down) for right, down in ((-3.0, 0.0), (3.0, 0.0), (0.0, -3.0), (0.0, 3.0))),
    *((0.0, scale, 0.0, 0.0) for scale in (1 / 1.08, 1.08)),
    *((0.0, *move) for move in product((1 / 1.08, 1.08), (-3.0, 3.0), (-3.0, 3.0))),
)
UNIT = 100  # the length of a descriptor: products of two are whole numbers, exact in any order of adding
NEIGHBOURS = 16  # of each image that are looked at closely
LEAST_ALIKE = 0.5  # of descriptors
LAID = 2  # of each image's candidates that are laid on it: those with the largest correlation by shifts alone
LEAST_PEAK = 0.4  # of the correlation by shifts alone
LARGEST_SHIFT_PX = 8
COARSE_PX, SOFT_PX, FINE_PX = 1.8, 1.0, 0.7  # blur while one is laid on the other, and of what is compared then
LEAST_COARSE, LEAST_SOFT = 0.8, 0.8  # correlation under each of these blurs
LAST_STEP_PX = 0.02
STEPS_OF_NEWTON = 8
FARTHEST = 0.2  # what the map may change by on the way: more is no copy
LEAST_COMMON = 0.6  # of the smaller lit field
SAME = 0.86  # correlation of what is laid on each other


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


def descriptors(structure_NP: Bytes, move: Move, mirrored: bool) -> Floats:
    """Return the descriptors of moved images, (N, K) of whole numbers, each of length 100 but for rounding."""
    found = [np.zeros((0, _waves(move, mirrored).shape[1]), np.float32)]
    for start in range(0, len(structure_NP), BLOCK):
        wave_NK = structure_NP[start : start + BLOCK].astype(np.float32) @ _waves(move, mirrored)
        length_N1 = np.sqrt((wave_NK.astype(np.float64) ** 2).sum(1, keepdims=True))
        found.append(np.rint(UNIT * wave_NK / np.maximum(length_N1, 1)).astype(np.float32))
    return np.concatenate(found)


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
    file_M = file_N if inside else file_M
    candidates = _candidates(structure_NP, other_MP, inside, file_N, file_M)
    shifts = [(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))]
    shifts += [_shifted(structure_NP, other_MP, block) for block in _blocks(candidates)]
    shifted_B2, peak_B = (np.concatenate(of) for of in zip(*shifts, strict=True))
    wanted_B = (_rank(candidates[:, 0], peak_B) < LAID) | (_rank(candidates[:, 1], peak_B) < LAID)
    wanted_B &= peak_B >= LEAST_PEAK
    with threadpool_limits(limits=1):  # the last bits of a sum can depend on the number of threads
        return sorted(_compared(structure_NP, other_MP, candidates[wanted_B], shifted_B2[wanted_B]))


def _rank(rows_B: Ints, peak_B: Floats) -> Ints:
    """Return the rank of each candidate among those of its row, 0 the one with the largest peak."""
    order_B = np.lexsort((np.arange(len(rows_B)), -peak_B, rows_B))
    sorted_B = rows_B[order_B]
    rank_B = np.empty(len(rows_B), np.int64)
    rank_B[order_B] = np.arange(len(rows_B)) - np.searchsorted(sorted_B, sorted_B)
    return rank_B


# --- candidates -----------------------------------------------------------------------------------------------------


class _Nearest:
    """The nearest neighbours of each image that were met so far, with what they were moved by."""

    def __init__(self, count: int) -> None:
        self.alike_NK = np.full((count, NEIGHBOURS), LEAST_ALIKE * UNIT**2, np.float32)
        self.what_NK = np.full((count, NEIGHBOURS), -1, np.int64)

    def meet(self, rows: Ints, alike: Floats, what: Ints) -> None:
        """Take in further neighbours; of several of one row the most alike, among equals the one named first."""
        order = np.lexsort((what, -alike, rows))
        rows, alike, what = rows[order], alike[order], what[order]
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        rank = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
        kept = rank < NEIGHBOURS
        rows, alike, what, rank = rows[kept], alike[kept], what[kept], rank[kept]
        touched, place = np.unique(rows, return_inverse=True)
        width = 2 * NEIGHBOURS
        all_alike = np.full((len(touched), width), -1, np.float32)
        all_what = np.full((len(touched), width), -1, np.int64)
        all_alike[:, :NEIGHBOURS], all_what[:, :NEIGHBOURS] = self.alike_NK[touched], self.what_NK[touched]
        all_alike[place, NEIGHBOURS + rank], all_what[place, NEIGHBOURS + rank] = alike, what
        best = np.lexsort((all_what, -all_alike), axis=1)[:, :NEIGHBOURS]
        self.alike_NK[touched] = np.take_along_axis(all_alike, best, 1)
        self.what_NK[touched] = np.take_along_axis(all_what, best, 1)


def _candidates(structure_NP: Bytes, other_MP: Bytes, inside: bool, file_N: Ints | None, file_M: Ints | None) -> Ints:
    """Return rows (one, other, move, mirrored) of the nearest neighbours, in order, each pair once per way."""
    plain_MK = descriptors(other_MP, MOVES[1], False)
    near, near_other = _Nearest(len(structure_NP)), _Nearest(len(other_MP))
    ways = [(number, mirrored) for mirrored in (False, True) for number in range(len(MOVES))]
    for way, (number, mirrored) in enumerate(ways):
        moved_NK = descriptors(structure_NP, MOVES[number], mirrored)
        for start in range(0, len(moved_NK), BLOCK):
            for begin in range(start if inside else 0, len(plain_MK), BLOCK):
                alike_NM = moved_NK[start : start + BLOCK] @ plain_MK[begin : begin + BLOCK].T
                if inside and start == begin:
                    alike_NM = np.triu(alike_NM, 1)
                if file_N is not None and file_M is not None:
                    alike_NM[file_N[start : start + BLOCK, None] == file_M[begin : begin + BLOCK]] = 0
                for side, at, to, alike in (
                    (near, start, begin, alike_NM),
                    (near_other if not inside else near, begin, start, alike_NM.T),
                ):
                    limit = side.alike_NK[at : at + BLOCK, -1]
                    near_rows = np.flatnonzero(alike.max(1) > limit)  # soon few: the others need no second look
                    rows, columns = np.nonzero(alike[near_rows] > limit[near_rows, None])
                    if len(rows):
                        rows = near_rows[rows]
                        side.meet(rows + at, alike[rows, columns], (columns + to) * len(ways) + way)
    found = []
    for side, swapped in ((near, inside), (near_other, True)):
        rows, places = np.nonzero(side.what_NK >= 0)
        what, alike = side.what_NK[rows, places], side.alike_NK[rows, places].astype(np.int64)
        others, ways_N = what // len(ways), what % len(ways)
        if swapped and inside:
            rows, others = np.minimum(rows, others), np.maximum(rows, others)
        elif swapped:
            rows, others = others, rows
        found.append(np.stack([rows, others, -alike, ways_N % len(MOVES), ways_N // len(MOVES)], 1))
    table = np.unique(np.concatenate(found), axis=0)  # of a pair the best way comes first
    is_first = np.ones(len(table), bool)
    is_first[1:] = (table[1:, :2] != table[:-1, :2]).any(1)
    return table[is_first][:, [0, 1, 3, 4]]


def _blocks(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), 256):
        yield rows[start : start + 256]


# --- decision -------------------------------------------------------------------------------------------------------


def _compared(structure_NP: Bytes, other_MP: Bytes, candidates: Ints, shifted_B2: Ints) -> Iterator[Copy]:
    """Yield those candidates that are copies."""
    for at in range(len(candidates)):
        one, other, move, mirrored = candidates[at].tolist()
        image_HW, other_HW = (
            rows[row].reshape(THUMBNAIL_PX, THUMBNAIL_PX).astype(np.float32)
            for rows, row in ((structure_NP, one), (other_MP, other))
        )
        image_HW = image_HW[:, ::-1] if mirrored else image_HW
        map_22, begin_2 = _inverse(MOVES[move])
        score = _registered(image_HW, other_HW, (map_22, begin_2 - map_22 @ shifted_B2[at]))
        if score >= SAME:
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
    return shift_B2, peak_B.astype(np.float32)


def _registered(image_HW: Floats, other_HW: Floats, laid: Laid) -> float:
    """Return the correlation of two structures, once the first is laid on the second; 0 where it cannot be.

    The affine map is that of the largest correlation coefficient, by Gauss and Newton from coarse to fine (ECC:
    Evangelidis and Psarakis 2008), sought from the one given.
    """
    from scipy import ndimage

    lit_HW, lit_other_HW = (ndimage.uniform_filter(np.abs(one), 3) > 0 for one in (image_HW, other_HW))
    for blur_px, least, every in ((COARSE_PX, LEAST_COARSE, 2), (SOFT_PX, LEAST_SOFT, 1)):
        soft_HW, soft_other_HW = (ndimage.gaussian_filter(one, blur_px) for one in (image_HW, other_HW))
        found = _aligned(soft_HW, soft_other_HW, lit_HW, lit_other_HW, laid, every)
        if found is None or _alike(soft_HW, soft_other_HW, lit_HW, lit_other_HW, found) < least:
            return 0.0
        laid = found
    fine_HW, fine_other_HW = (ndimage.gaussian_filter(one, FINE_PX) for one in (image_HW, other_HW))
    return _alike(fine_HW, fine_other_HW, lit_HW, lit_other_HW, laid)


def _aligned(
    soft_HW: Floats, soft_other_HW: Floats, own_HW: Bools, other_HW: Bools, laid: Laid, every: int
) -> Laid | None:
    """Return the affine map at which two blurred structures are most alike, sought from the one given.

    Of each line `every` n-th pixel is looked at.
    """
    from scipy import ndimage

    slopes_HW = np.gradient(soft_HW)
    middle = (THUMBNAIL_PX - 1) / 2
    place_2HW = np.mgrid[:THUMBNAIL_PX:every, :THUMBNAIL_PX:every] / middle - 1
    fixed_HW, shape = soft_other_HW[::every, ::every], place_2HW.shape[1:]
    map_22, begin_2 = laid
    for _ in range(STEPS_OF_NEWTON):
        lit_HW = _lit(own_HW, other_HW, (map_22, begin_2), every)
        if lit_HW is None:
            return None
        value_N, dy_N, dx_N = (
            ndimage.affine_transform(one, every * map_22, begin_2, shape, order=1)[lit_HW]
            for one in (soft_HW, *slopes_HW)
        )
        y_N, x_N = place_2HW[:, lit_HW]
        ways_N6 = np.stack([dy_N, dy_N * y_N, dy_N * x_N, dx_N, dx_N * y_N, dx_N * x_N], 1)
        ways_N6 = ways_N6 - ways_N6.mean(0)
        value_N, wanted_N = (one - one.mean() for one in (value_N, fixed_HW[lit_HW]))
        gain = float(wanted_N @ value_N) / max(float(value_N @ value_N), 1e-6)  # contrast is no difference
        if gain <= 0:
            return None
        step_6 = np.linalg.solve(ways_N6.T @ ways_N6 + 1e-3 * np.eye(6), ways_N6.T @ (wanted_N / gain - value_N))
        step_22 = step_6.reshape(2, 3)[:, 1:] / middle
        map_22 = map_22 + step_22
        begin_2 = begin_2 + step_6.reshape(2, 3)[:, 0] - step_22 @ [middle, middle]
        if np.abs(map_22 - laid[0]).max() > FARTHEST:
            return None
        if np.abs(step_6).max() < LAST_STEP_PX:
            break
    return map_22, begin_2


def _alike(image_HW: Floats, fixed_HW: Floats, own_HW: Bools, other_HW: Bools, laid: Laid) -> float:
    """Return the correlation of two structures where both are lit, once the first is laid on the second."""
    from scipy import ndimage

    lit_HW = _lit(own_HW, other_HW, laid)
    if lit_HW is None:
        return 0.0
    moved_N, fixed_N = ndimage.affine_transform(image_HW, *laid, order=1)[lit_HW], fixed_HW[lit_HW]
    moved_N, fixed_N = moved_N - moved_N.mean(), fixed_N - fixed_N.mean()
    return float(moved_N @ fixed_N) / max(float(np.sqrt((moved_N @ moved_N) * (fixed_N @ fixed_N))), 1e-6)


def _lit(own_HW: Bools, other_HW: Bools, laid: Laid, every: int = 1) -> Bools | None:
    """Return where both are lit, of every n-th pixel; None where that is too small a part of the smaller one."""
    from scipy import ndimage

    fixed_HW = other_HW[::every, ::every]
    moved_HW = ndimage.affine_transform(own_HW.astype(np.float32), every * laid[0], laid[1], fixed_HW.shape, order=1)
    both_HW: Bools = (moved_HW > 0.99) & fixed_HW
    return both_HW if both_HW.sum() * every**2 >= LEAST_COMMON * min(own_HW.sum(), other_HW.sum()) else None
