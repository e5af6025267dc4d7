"""Limits of a Kaplan-Meier curve that stay honest where few events, or none, are seen.

Invariant: no interval of zero width after time 0. Twelve people without an event: their risk has the exact
upper limit of 0 of 12, 0.265.
Shape legend: N samples, U different times, T times asked for, S subjects.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from visionfm.metrics.intervals import TAIL, t_quantile
from visionfm.metrics.limits import FEWEST_SUBJECTS
from visionfm.metrics.weighted import Floats, Mask


class Limits(NamedTuple):
    """95 % limits of the share without the event after each time; NaN where nobody is followed so long."""

    low_T: Floats
    high_T: Floats
    exact_T: Mask  # beta product limits; else log(-log)


def limits(time_N: Floats, event_N: Mask, subject_N: NDArray[np.object_], at_T: Floats) -> Limits:
    """Return limits on the scale log(-log S), exact ones where fewer than five subjects had the event or stay free.

    `time_N` are finite; several samples of a subject (eyes) are not independent: the variance is that of the subjects'
    sums (Lin and Wei 1989), and the exact limits count a subject's samples as one. All are NaN for fewer than five
    subjects. The exact ones: beta products (Fay, Brittain and Proschan, Biostatistics 2013, 14:723) by their moments;
    without censoring they are Clopper and Pearson's.
    """
    subjects_S, owner_N = np.unique(np.asarray(subject_N, dtype=np.str_), return_inverse=True)
    low_T, high_T = np.full(len(at_T), np.nan), np.full(len(at_T), np.nan)
    exact_T = np.zeros(len(at_T), bool)
    if len(subjects_S) < FEWEST_SUBJECTS:
        return Limits(low_T, high_T, exact_T)
    times_U, place_N = np.unique(time_N, return_inverse=True)
    all_U: Floats = np.bincount(place_N).astype(np.float64)
    events_U: Floats = np.bincount(place_N, event_N).astype(np.float64)
    at_risk_U = np.cumsum(all_U[::-1])[::-1]
    free_U = np.cumprod(1 - events_U / at_risk_U)
    sizes_S = np.bincount(owner_N)
    size = float((sizes_S**2).sum() / sizes_S.sum())  # how many samples count as one: as if a subject's were all alike
    for place, time in enumerate(at_T):
        if time <= 0:
            low_T[place] = high_T[place] = 1.0  # by definition
            continue
        steps = int(np.searchsorted(times_U, time, side="right"))
        free = float(free_U[steps - 1]) if steps else 1.0
        if free > 0 and time > times_U[-1]:
            continue
        gone_N, left_N = event_N & (time_N <= time), (time_N > time) | ((time_N == time) & ~event_N)
        left = float(left_N.sum())
        persons = min(len(np.unique(owner_N[gone_N])), len(np.unique(owner_N[left_N])))
        exact_T[place] = persons < FEWEST_SUBJECTS
        if exact_T[place]:
            low_T[place], high_T[place] = _beta_product(at_risk_U[:steps] / size, events_U[:steps] / size, left / size)
        else:
            influence_N = _influence(place_N, event_N, at_risk_U[:steps], events_U[:steps])
            low_T[place], high_T[place] = _log_log(free, influence_N, owner_N)
    return Limits(low_T, high_T, exact_T)


def _influence(place_N: NDArray[np.intp], event_N: Mask, at_risk_U: Floats, events_U: Floats) -> Floats:
    """Return how far each sample moves the cumulated hazard, -log S."""
    stay_U = at_risk_U - events_U  # above 0, for some are left
    passed_U = np.cumsum(events_U / (at_risk_U * stay_U))
    inside_N = place_N < len(at_risk_U)
    last_N = np.minimum(place_N, len(at_risk_U) - 1)
    return np.where(inside_N & event_N, 1 / stay_U[last_N], 0.0) - passed_U[last_N]


def _log_log(free: float, influence_N: Floats, subject_N: NDArray[np.intp]) -> tuple[float, float]:
    """Return limits symmetric on the scale log(-log S) (Kalbfleisch and Prentice), over subjects."""
    sum_S = np.bincount(subject_N, influence_N)
    count = len(sum_S)
    error = float(np.sqrt(count / (count - 1) * (sum_S @ sum_S)))
    hazard = -np.log(free)
    reach = t_quantile(count - 1) * error / hazard
    return float(np.exp(-hazard * np.exp(reach))), float(np.exp(-hazard * np.exp(-reach)))


def _beta_product(at_risk_U: Floats, events_U: Floats, left: float) -> tuple[float, float]:
    """Return the limits of a product of betas with its mean and variance; the lower one allows for an event next."""
    some_U = events_U > 0
    first_U, second_U = (at_risk_U - events_U)[some_U] + 1, events_U[some_U]
    high = _quantile(first_U, second_U, 1 - TAIL) if some_U.any() else 1.0
    low = _quantile(np.append(first_U, left), np.append(second_U, 1.0), TAIL) if left > 0 else 0.0
    return low, high


def _quantile(first_K: Floats, second_K: Floats, share: float) -> float:
    """Return a quantile of a product of independent betas, as of the beta of equal mean and variance."""
    total_K = first_K + second_K
    mean = float(np.prod(first_K / total_K))
    square = float(np.prod(first_K * (first_K + 1) / (total_K * (total_K + 1))))
    size = (mean - square) / (square - mean**2)
    return float(special.betaincinv(mean * size, (1 - mean) * size, share))
