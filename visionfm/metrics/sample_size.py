"""How many subjects an external validation needs, after Riley et al. (Stat Med 2021, 40:4230), from what was seen.

- AUROC: the standard error of the c statistic by Newcombe (Stat Med 2006, 25:559), which needs AUROC and prevalence.
- Calibration slope: the information of the logistic regression on the log odds, per subject.

Wanted half widths are those of 95 % intervals. The formulas know of independent samples: where people have several
images, the number is one of people, which errs to the large side. Invariant: a number is rounded up, and stands with
the number of events that it implies.
Shape legend: N samples.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from scipy import special

from visionfm.metrics.calibration import log_odds
from visionfm.metrics.intervals import NORMAL
from visionfm.metrics.weighted import Floats

AUROC_WITHIN, SLOPE_WITHIN = 0.05, 0.1


class Needed(NamedTuple):
    """So many samples, of whom so many are cases, give so narrow an interval."""

    samples: int
    cases: int


def for_auroc(auroc: float, prevalence: float, within: float = AUROC_WITHIN) -> Needed:
    """Return what a 95 % interval of AUROC +- `within` needs; `auroc` is 0.5 to 1 (without 1), `prevalence` 0 to 1."""
    least, most = 1, 2
    wanted = within / NORMAL
    while _auroc_error(most, auroc, prevalence) > wanted:
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if _auroc_error(middle, auroc, prevalence) > wanted else (least, middle)
    return Needed(most, ceil(most * prevalence - 1e-9))


def _auroc_error(count: float, auroc: float, prevalence: float) -> float:
    """Return Newcombe's standard error (his method 4) of an AUROC of so many samples."""
    half = count / 2 - 1
    spread = 1 + half * (1 - auroc) / (2 - auroc) + half * auroc / (1 + auroc)
    return float(np.sqrt(auroc * (1 - auroc) * spread / (count**2 * prevalence * (1 - prevalence))))


def for_slope(probability_N: Floats, within: float = SLOPE_WITHIN) -> Needed:
    """Return what a 95 % interval of the calibration slope +- `within` needs, where samples are like these.

    The probabilities are taken to be right (slope 1, intercept 0), as Riley et al. do. ValueError where all are alike.
    """
    odds_N = log_odds(probability_N)
    weight_N = special.expit(odds_N) * special.expit(-odds_N)
    a, b, c = (float((weight_N * odds_N**power).mean()) for power in range(3))
    if a * c - b**2 <= 1e-12 * a * c:
        raise ValueError("all probabilities are the same, so that no slope can be known")
    variance = a / (a * c - b**2)  # of one sample
    samples = ceil(variance / (within / NORMAL) ** 2 - 1e-9)
    return Needed(samples, ceil(samples * float(special.expit(odds_N).mean()) - 1e-9))
