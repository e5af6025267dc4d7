"""What probabilities are worth where something is decided: net benefit, risk by coverage, and conformal sets.

Invariant: the subject is the unit: of every band, and of the promise of conformal sets.
Shape legend: N samples, S subjects, K classes, T thresholds, C shares of the samples.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.evidence import Interval, Mean
from visionfm.metrics.intervals import interval, t_quantile
from visionfm.metrics.limits import FEWEST_SUBJECTS
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Mask

CONFORMAL = ("conformal_coverage", "conformal_set_size", "conformal_single")


class Band(NamedTuple):
    """Values with a pointwise 95 % band (NaN where fewer than five subjects tell it)."""

    value_X: Floats
    low_X: Floats
    high_X: Floats


def _band(value_X: Floats, influence_XS: Floats, wider: float) -> Band:
    moving_X = (influence_XS != 0).sum(axis=1)
    persons_X = np.maximum(moving_X, 2)
    error_X = np.sqrt((influence_XS**2).sum(axis=1) * persons_X / (persons_X - 1))
    quantile_X = np.array([t_quantile(persons - 1) for persons in persons_X])
    reach_X = np.where(moving_X >= FEWEST_SUBJECTS, wider * quantile_X * error_X, np.nan)
    return Band(value_X, value_X - reach_X, value_X + reach_X)


# --- net benefit ------------------------------------------------------------------------------------------------------


def net_benefit(
    truth_N: Floats, probability_N: Floats, subject_N: NDArray[Any] | Subjects, at_T: Floats, wider: float = 1.0
) -> Band:
    """Return the net benefit of treating from each probability on (Vickers and Elkin, Med Decis Making 2006, 26:565).

    True positives less false ones, which weigh t / (1 - t), per sample; t is also the probability at which somebody
    would want treatment. Treating nobody has 0, treating all what `treat_all` returns. Truths are 0 or 1. `wider`
    multiplies the error: of answers of several folds' decoders, `intervals.wider_by`.
    """
    subjects = Subjects.of(subject_N)
    odds_T = at_T / (1 - at_T)
    called_TN = probability_N >= at_T[:, None]
    worth_TN = called_TN * np.where(truth_N == 1, 1.0, -odds_T[:, None])
    value_T = worth_TN.mean(axis=1)
    return _band(value_T, _per_subject(worth_TN - value_T[:, None], subjects) / len(truth_N), wider)


def treat_all(prevalence: float, at_T: Floats) -> Floats:
    """Return the net benefit of treating everybody."""
    return np.asarray(prevalence - (1 - prevalence) * at_T / (1 - at_T))


def _per_subject(value_XN: Floats, subjects: Subjects) -> Floats:
    return np.stack([np.bincount(subjects.place_N, value_N, subjects.count) for value_N in value_XN])


# --- selective prediction ---------------------------------------------------------------------------------------------


def risk_by_coverage(
    wrong_N: Mask, confidence_N: Floats, subject_N: NDArray[Any] | Subjects, share_C: Floats, wider: float = 1.0
) -> Band:
    """Return the share of wrong calls among the most confident ones (El-Yaniv and Wiener, JMLR 2010, 11:1605).

    `share_C`: how many of all samples are answered. Equally confident ones count as their mean, in whatever order.
    `wider` multiplies the error, as above.
    """
    subjects = Subjects.of(subject_N)
    order = np.argsort(-confidence_N, kind="stable")
    _, group_N, size_G = np.unique(-confidence_N, return_inverse=True, return_counts=True)
    mean_N = (np.bincount(group_N, wrong_N) / size_G)[group_N]
    taken_C = np.clip(np.ceil(share_C * len(order) - 1e-9).astype(int), 1, len(order))
    value_C = np.cumsum(mean_N[order])[taken_C - 1] / taken_C
    rank_N = np.empty(len(order), int)
    rank_N[order] = np.arange(len(order))
    rest_CN = (rank_N < taken_C[:, None]) * (mean_N - value_C[:, None])
    band = _band(value_C, _per_subject(rest_CN, subjects) / taken_C[:, None], wider)
    return Band(value_C, np.clip(band.low_X, 0, 1), np.clip(band.high_X, 0, 1))


# --- conformal sets ---------------------------------------------------------------------------------------------------


def conformal_limit(
    class_N: NDArray[np.intp], score_NK: Floats, subject_N: NDArray[Any] | Subjects, level: float
) -> float:
    """Return the least probability with which a class is in the set, so that the truth is in it with this chance.

    Split conformal prediction (Vovk 2005; Sadinle, Lei and Wasserman, JASA 2019, 114:223) on validation samples. The
    promise is about a sample of a new subject: each subject weighs as much, whatever its number of samples (pooled
    distribution functions: Dunn, Wasserman and Ramdas, JASA 2022). Minus infinity: so few subjects promise nothing
    less than all classes.
    """
    subjects = Subjects.of(subject_N)
    off_N = 1 - score_NK[np.arange(len(class_N)), class_N]
    weight_N = 1 / np.bincount(subjects.place_N)[subjects.place_N] / (subjects.count + 1)
    order = np.argsort(off_N, kind="stable")
    reached = np.flatnonzero(np.cumsum(weight_N[order]) >= level - 1e-12)
    return float(1 - off_N[order][reached[0]]) if len(reached) else -np.inf


def conformal_sets(score_NK: Floats, limit: float) -> Mask:
    """Return which classes are in each set (N, K)."""
    return np.asarray(score_NK >= limit - 1e-12)


def conformal(set_NK: Mask, class_N: NDArray[np.intp], subjects: Subjects) -> dict[str, Interval]:
    """Return metric -> value and interval, for CONFORMAL: means over subjects of the means over their samples."""
    size_N = set_NK.sum(axis=1)
    of_samples = {
        "conformal_coverage": set_NK[np.arange(len(class_N)), class_N],
        "conformal_set_size": size_N,
        "conformal_single": size_N == 1,
    }
    count_S = np.bincount(subjects.place_N, minlength=subjects.count).astype(np.float64)
    one_each = Subjects(np.arange(subjects.count), subjects.count)
    found = {}
    for metric, value_N in of_samples.items():
        sum_S = np.bincount(subjects.place_N, value_N, subjects.count)
        mean_S = np.divide(sum_S, count_S, out=np.full(subjects.count, np.nan), where=count_S > 0)
        found[metric] = interval(metric, Mean(mean_S), one_each)
    return found
