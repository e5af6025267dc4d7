"""The ROC curve with its band: sensitivity by the share of false alarms, and how far it moves with the people drawn.

Invariant: the subject is the unit. Shape legend: N samples, S subjects, F shares of false alarms, B draws.
"""

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.decisions import Band
from visionfm.metrics.limits import FEWEST_SUBJECTS
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats

DRAWS = 200


def roc_band(
    truth_N: Floats, score_N: Floats, subject_N: "NDArray[np.str_] | Subjects", at_F: Floats, wider: float = 1.0
) -> Band:
    """Return sensitivity at each share of false alarms, with a pointwise 95 % band (NaN with too few subjects).

    The band is that of percentiles over 200 draws of subjects with replacement (Efron and Tibshirani 1993, chapter 13),
    the same ones in every run. Truths are 0 or 1, of both kinds. `wider` multiplies both sides: of answers of several
    folds' decoders, `intervals.wider_by`.
    """
    subjects = Subjects.of(subject_N)
    order_N = np.argsort(-score_N, kind="stable")
    ends_G = np.flatnonzero(np.append(np.diff(score_N[order_N]) != 0, True))  # equal scores are one step
    case_N, place_N = truth_N[order_N] == 1, subjects.place_N[order_N]

    def sensitivity(weight_N: Floats) -> Floats:
        found_G, alarms_G = (np.cumsum(weight_N * mask)[ends_G] for mask in (case_N, ~case_N))
        if not found_G[-1] or not alarms_G[-1]:
            return np.full(len(at_F), np.nan)
        share_G, sensitivity_G = np.append(0, alarms_G / alarms_G[-1]), np.append(0, found_G / found_G[-1])
        return np.asarray(np.interp(at_F, share_G, sensitivity_G))

    value_F = sensitivity(np.ones(len(truth_N)))
    if min(subjects.among(truth_N == 1), subjects.among(truth_N != 1)) < FEWEST_SUBJECTS:
        nothing_F = np.full(len(at_F), np.nan)
        return Band(value_F, nothing_F, nothing_F)
    rng = np.random.default_rng(0)
    chance_S = np.full(subjects.count, 1 / subjects.count)
    drawn_BF = np.stack(
        [sensitivity(rng.multinomial(subjects.count, chance_S)[place_N].astype(float)) for _ in range(DRAWS)]
    )
    low_F, high_F = np.nanpercentile(drawn_BF, [2.5, 97.5], axis=0)
    low_F, high_F = (np.clip(value_F + wider * (end_F - value_F), 0, 1) for end_F in (low_F, high_F))
    return Band(value_F, low_F, high_F)
