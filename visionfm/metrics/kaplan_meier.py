"""Kaplan-Meier curves with their 95 % limits, and the log-rank test of groups.

Shape legend: D draws, N samples, T times, G groups, S subjects.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.kaplan_meier_limits import limits
from visionfm.metrics.weighted import Floats, Mask


class Curve(NamedTuple):
    """The share without the event after each time; low and high are NaN where there are too few subjects."""

    free_T: Floats
    low_T: Floats
    high_T: Floats
    exact_T: Mask  # limits are exact ones, for few had the event or few did not


def free_of_event(time_N: Floats, event_N: Mask, weights_DN: Floats, at_T: Floats) -> Floats:
    """Return the Kaplan-Meier estimate free_DT of each draw; NaN beyond the last time, unless that is an event's."""
    order = np.argsort(time_N, kind="stable")
    times_U, starts = np.unique(time_N[order], return_index=True)
    all_DU = np.add.reduceat(weights_DN[:, order], starts, axis=1)
    events_DU = np.add.reduceat(weights_DN[:, order] * event_N[order], starts, axis=1)
    at_risk_DU = np.cumsum(all_DU[:, ::-1], axis=1)[:, ::-1]
    steps_DU = 1 - np.divide(events_DU, at_risk_DU, out=np.zeros_like(all_DU), where=at_risk_DU > 0)
    free_DU = np.concatenate([np.ones((len(weights_DN), 1)), np.cumprod(steps_DU, axis=1)], axis=1)
    found_DT = free_DU[:, np.searchsorted(times_U, at_T, side="right")]
    followed_DT = np.stack([(all_DU * (times_U >= time)).sum(axis=1) > 0 for time in at_T], axis=1)
    return np.where(followed_DT | (found_DT == 0), found_DT, np.nan)


def curve(time_N: Floats, event_N: Mask, subject_N: NDArray[np.object_], at_T: Floats) -> Curve:
    """Return the estimate at some times and its 95 % limits, which never have zero width after time 0."""
    (free_T,) = free_of_event(time_N, event_N, np.ones((1, len(time_N))), at_T)
    found = limits(time_N, event_N, subject_N, at_T)
    return Curve(free_T, found.low_T, found.high_T, found.exact_T)


class LogRank(NamedTuple):
    """The test's result; `robust`: subjects with several samples count as one observation each."""

    statistic: float
    freedom: int
    p: float
    robust: bool


def log_rank(group_N: NDArray[np.intp], time_N: Floats, event_N: Mask, subject_N: NDArray[np.object_]) -> LogRank | str:
    """Return the log-rank test of equal hazards in all groups, or why there is none.

    Where every subject has one sample: the classical variance (Mantel 1966). Otherwise that of the subjects' sums of
    score residuals (Lin and Wei 1989), for two eyes of a person are not independent.
    """
    groups = np.unique(group_N)
    if len(groups) < 2:
        return "no log-rank test: all samples are in one risk group"
    if not event_N.any():
        return f"no log-rank test: no event among {len(event_N)} samples"
    member_NG = (group_N[:, None] == groups).astype(np.float64)
    times = np.unique(time_N[event_N])
    residual_NG, variance_GG = np.zeros_like(member_NG), np.zeros((len(groups), len(groups)))
    for time in times:
        at_risk, died = time_N >= time, event_N & (time_N == time)
        count, deaths = at_risk.sum(), died.sum()
        share_G = member_NG[at_risk].mean(axis=0)
        # An event adds its surprise, being at risk takes the expected one away.
        residual_NG += (died[:, None] - at_risk[:, None] * (deaths / count)) * (member_NG - share_G)
        if count > 1:
            scale = deaths * (count - deaths) / (count - 1)
            variance_GG += scale * (np.diag(share_G) - np.outer(share_G, share_G))
    subjects, place_N = np.unique(subject_N.astype(str), return_inverse=True)
    robust = len(subjects) < len(subject_N)
    if robust:
        sums_SG = np.zeros((len(subjects), len(groups)))
        np.add.at(sums_SG, place_N, residual_NG)
        variance_GG = sums_SG.T @ sums_SG
    from scipy.stats import chi2

    score_G = residual_NG.sum(axis=0)[:-1]
    inverse = np.linalg.pinv(variance_GG[:-1, :-1])
    statistic = float(score_G @ inverse @ score_G)
    return LogRank(statistic, len(groups) - 1, float(chi2.sf(statistic, len(groups) - 1)), robust)
