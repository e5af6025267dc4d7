"""Labels that look wrong: how well each label agrees with its neighbours', and how far a list of them can be trusted.

Neighbours vote with Dudani's weights (1976). The quality of a class label is the normalised margin of its votes, each
class held against its own threshold, the mean vote for those who have it (confident learning: Northcutt, Jiang and
Chuang 2021; Kuan and Mueller 2022); of a value 1 / (1 + distance from the neighbours' mean / median distance).
What a list is worth is measured by labels that are changed on purpose. Invariant: nothing depends on time or machine.
Shapes: N samples, K neighbours, T label columns, C classes; NaN is an unknown label, or one that nobody voted on.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
EVEN = 0.5  # of classes: the label and another class have equal votes
FAR = 1 / (1 + 3 * 1.4826)  # of values: three robust standard deviations from what the neighbours have


class Votes(NamedTuple):
    """Whose labels count for a sample: rows of other samples, and their weights (0: not counted)."""

    near_NK: Ints
    weight_NK: Floats

    @classmethod
    def of(cls, near_NK: Ints, distance_NK: Floats, counts_NK: Bools) -> "Votes":
        """Return Dudani's weights: 1 for the nearest, 0 for the farthest; all 1 where all are equally far."""
        if not counts_NK.any():
            return cls(near_NK, np.zeros(counts_NK.shape))
        distance = np.where(counts_NK, distance_NK, np.nan)
        with np.errstate(all="ignore"):
            low, high = np.fmin.reduce(distance, axis=1)[:, None], np.fmax.reduce(distance, axis=1)[:, None]
            weight = np.where(high > low, (high - distance) / (high - low), 1.0)
        return cls(near_NK, np.where(counts_NK, weight, 0.0))

    def mean(self, value_N: Floats) -> Floats:
        """Return the weighted mean of a value over each sample's voters that have one."""
        value_NK = value_N[self.near_NK]
        weight_NK = np.where(np.isnan(value_NK), 0.0, self.weight_NK)
        total_N = weight_NK.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(total_N > 0, (weight_NK * np.nan_to_num(value_NK)).sum(axis=1) / total_N, np.nan)


class Judged(NamedTuple):
    """What neighbours say: `quality` from 0 (surely wrong) to 1, and the label that they have instead."""

    quality_NT: Floats
    likely_NT: Floats

    def suspect_NT(self, classes: int) -> Bools:
        """Return which labels their neighbours contradict."""
        return self.quality_NT < (EVEN if classes else FAR)


def judged(label_NT: Floats, votes: Votes, classes: int, train_N: Bools) -> Judged:
    """Return the quality of all labels; `classes` is C of each column, 0 of values.

    Thresholds of classes and the typical distance of values are those of training samples.
    """
    columns = [
        _values(one, votes, train_N) if not classes else _classes(one, votes, classes, train_N) for one in label_NT.T
    ]
    return Judged(np.stack([one[0] for one in columns], axis=1), np.stack([one[1] for one in columns], axis=1))


def _values(label_N: Floats, votes: Votes, train_N: Bools) -> tuple[Floats, Floats]:
    said_N = votes.mean(label_N)
    away_N = np.abs(label_N - said_N)
    known = away_N[train_N & ~np.isnan(away_N)]
    typical = float(np.median(known)) if len(known) else 0.0
    return 1 / (1 + away_N / (typical or 1.0)), said_N


def _classes(label_N: Floats, votes: Votes, classes: int, train_N: Bools) -> tuple[Floats, Floats]:
    known_N = ~np.isnan(label_N)
    vote_NC = np.stack([votes.mean(np.where(known_N, label_N == c, np.nan)) for c in range(classes)], axis=1)
    counted_N = known_N & ~np.isnan(vote_NC[:, 0])
    threshold_C = np.full(classes, np.nan)
    for c in range(classes):
        if (has_N := counted_N & train_N & (label_N == c)).any():
            threshold_C[c] = vote_NC[has_N, c].mean()
    there_C = ~np.isnan(threshold_C)
    if not there_C.any():
        return np.full(len(label_N), np.nan), np.full(len(label_N), np.nan)
    over_NC = np.where(there_C, vote_NC - threshold_C + np.nanmax(threshold_C), 0.0)
    over_NC /= over_NC.sum(axis=1, keepdims=True)
    rows_N, own_N = np.arange(len(label_N)), np.where(known_N, label_N, 0).astype(np.intp)
    others_NC = over_NC.copy()
    others_NC[rows_N, own_N] = -np.inf
    margin_N = over_NC[rows_N, own_N] - others_NC.max(axis=1)
    counted_N &= there_C[own_N]  # a class that no training sample has cannot be agreed with
    return np.where(counted_N, (margin_N + 1) / 2, np.nan), np.where(
        counted_N, np.where(np.isnan(over_NC), -1, over_NC).argmax(axis=1), np.nan
    )


def ranked(judged: Judged, of_N: Bools) -> tuple[Ints, Ints]:
    """Return the rows and columns of all labels of some samples that could be judged, the worst first."""
    quality_NT = np.where(of_N[:, None], judged.quality_NT, np.nan)
    row, column = np.nonzero(~np.isnan(quality_NT))
    order = np.argsort(quality_NT[row, column], kind="stable")
    return row[order], column[order]


class Planted(NamedTuple):
    """Of labels changed on purpose: the share of them among the first `first` of the list, mean and 95 % of draws."""

    share: float  # of all labels that were changed
    changed: int
    among: int  # training labels that could be judged
    first: int
    mean: float
    low: float
    high: float


def planted(
    label_NT: Floats, votes: Votes, classes: int, ordered: bool, train_N: Bools, share: float, firsts: list[int],
    draws: int, seed: int,
) -> list[Planted]:  # fmt: skip
    """Return what lists of training samples find of labels that are changed at random, `draws` times anew.

    Of grades in an order a neighbouring grade is put; of other classes one that is drawn by its frequency; of a value
    that of another training sample. Training samples must have two different labels at least in each column.
    """
    row, column = ranked(judged(label_NT, votes, classes, train_N), train_N)
    count = max(1, round(share * len(row)))
    found_DF = np.zeros((draws, len(firsts)))
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        at = rng.choice(len(row), count, replace=False)
        changed_NT, is_changed_NT = label_NT.copy(), np.zeros(label_NT.shape, bool)
        for r, c in zip(row[at], column[at], strict=True):
            changed_NT[r, c] = _another(label_NT[r, c], label_NT[train_N, c], classes, ordered, rng)
        is_changed_NT[row[at], column[at]] = True
        hit = is_changed_NT[ranked(judged(changed_NT, votes, classes, train_N), train_N)]
        found_DF[draw] = [hit[:first].mean() for first in firsts]
    low_F, high_F = np.quantile(found_DF, [0.025, 0.975], axis=0, method="inverted_cdf")
    return [
        Planted(share, count, len(row), first, float(found_DF[:, f].mean()), float(low_F[f]), float(high_F[f]))
        for f, first in enumerate(firsts)
    ]


def _another(own: float, label_N: Floats, classes: int, ordered: bool, rng: np.random.Generator) -> float:
    """Return a wrong label for a sample, as training samples have them."""
    if ordered:
        return float(rng.choice([grade for grade in (own - 1, own + 1) if 0 <= grade < classes]))
    return float(rng.choice(label_N[~np.isnan(label_N) & (label_N != own)]))
