"""Local recalibration: probabilities that few local cases put right, by Platt's scaling of their log odds.

Invariant: it is monotone where its slope is above 0, so that it changes what probabilities mean and not their order.
Shape legend: N samples.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from visionfm.metrics.calibration import log_odds, logistic
from visionfm.metrics.weighted import Floats


@dataclass(frozen=True)
class Platt:
    """New log odds = intercept + slope x log odds."""

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, probability_N: Floats) -> Floats:
        """Return the probabilities after it."""
        found: Floats = special.expit(self.intercept + self.slope * log_odds(probability_N))
        return found


def platt(truth_N: Floats, probability_N: Floats) -> Platt | str:
    """Return Platt's scaling (Advances in Large Margin Classifiers 1999), or why these samples give none.

    `truth_N` is 0 or 1, all known. Its targets are (cases + 1) / (cases + 2) and 1 / (non-cases + 2) in place of 1 and
    0, so that a few samples that a score tells apart do not give an infinite slope.
    """
    odds_N = log_odds(probability_N)
    cases, others = int((truth_N == 1).sum()), int((truth_N == 0).sum())
    for name, count in (("positive", cases), ("negative", others)):
        if not count:
            return f"no recalibration: no {name} case among the {len(truth_N)} local samples"
    if np.ptp(odds_N) == 0:
        return "no recalibration: all local probabilities are the same"
    goal_N = np.where(truth_N == 1, (cases + 1) / (cases + 2), 1 / (others + 2))
    # On a scale without unit: odds of different sizes would make one step too long for the other.
    middle, spread = float(odds_N.mean()), float(odds_N.std())
    design_NP = np.stack([np.ones(len(odds_N)), (odds_N - middle) / spread], axis=1)
    intercept, slope = logistic(design_NP, np.zeros(len(odds_N)), goal_N)
    slope = float(slope) / spread
    return Platt(float(intercept) - slope * middle, slope)
