"""Bland and Altman's limits of agreement (Lancet 1986, 1:307), each with its 95 % interval over subjects.

A limit is a mean plus or minus 1.96 standard deviations: its interval joins those of both (MOVER; Zou, Stat Methods Med
Res 2013, 22:630), each from the linearised variance between subjects, with the correlation that the subjects show.
Shape legend: N samples, S subjects.
"""

from typing import NamedTuple

import numpy as np

from visionfm.metrics.evidence import Interval
from visionfm.metrics.intervals import t_quantile
from visionfm.metrics.limits import FEWEST_SUBJECTS
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats

REACH = 1.96


class Agreement(NamedTuple):
    """The mean difference and both limits, each a value with its interval or the reason why there is none."""

    bias: Interval
    low: Interval
    high: Interval


def limits_of_agreement(difference_N: Floats, subjects: Subjects, wider: float = 1.0) -> Agreement:
    """Return them for these differences, predicted minus true; at least one.

    `wider` multiplies the errors: of answers of several folds' decoders, `intervals.wider_by`.
    """
    count, persons = len(difference_N), subjects.count
    bias = float(difference_N.mean())
    spread = float(difference_N.std(ddof=1)) if count > 1 else 0.0
    values = (bias, bias - REACH * spread, bias + REACH * spread)
    if persons < FEWEST_SUBJECTS or spread == 0:
        few = f"fewer than five subjects: {persons}"
        reason = f"no interval: {few if persons < FEWEST_SUBJECTS else 'all differences are the same'}"
        return Agreement(*(Interval(None, None, None, reason, value) for value in values))
    centred_N = difference_N - bias
    variance = float((centred_N**2).mean())
    scale = np.sqrt(persons / (persons - 1)) / count
    bias_S = scale * np.bincount(subjects.place_N, centred_N, persons)
    spread_S = scale * np.bincount(subjects.place_N, centred_N**2 - variance, persons) / (2 * np.sqrt(variance))
    errors = [float(np.sqrt(influence_S @ influence_S)) for influence_S in (bias_S, spread_S)]
    product = errors[0] * errors[1]
    correlation = float(bias_S @ spread_S) / product if product > 0 else 0.0
    quantile = wider * t_quantile(persons - 1)
    # Few subjects show too little of how far a standard deviation varies: at least as much as that of normal values.
    ratio = np.exp(quantile * max(errors[1] / spread, 1 / np.sqrt(2 * (persons - 1))))  # even on the log scale
    beside, below, above = quantile * errors[0], REACH * (spread - spread / ratio), REACH * (ratio * spread - spread)

    def joined(deviation: float, sign: int) -> float:
        return float(np.sqrt(max(0.0, beside**2 + deviation**2 + 2 * sign * correlation * beside * deviation)))

    method = "MOVER of mean and standard deviation, t over subjects"
    bias_value, low, high = values
    return Agreement(
        Interval(bias - beside, bias + beside, "t over subjects", None, bias_value, bias_S),
        Interval(low - joined(above, -1), low + joined(below, -1), method, None, low, bias_S - REACH * spread_S),
        Interval(high - joined(below, 1), high + joined(above, 1), method, None, high, bias_S + REACH * spread_S),
    )
