"""Metrics of a yes-or-no question as functions of sample weights, and the threshold that validation data choose.

Shape legend: D draws, N samples, G groups of equal scores, J leave-outs (the whole sample stands first).
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.evidence import Evidence, LeftOut, Mean, Members, Ranking, Ratio, Ready, Share
from visionfm.metrics.intervals import interval
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Mask, Values, ratio

Threshold = float | str | Floats  # a number, or why there is none; of several decoders that of each sample (N,)
HALF, VALIDATION = "0.5", "validation"
AT_THRESHOLD = (
    "f1", "sensitivity", "specificity", "balanced_accuracy", "ppv", "npv", "likelihood_ratio_positive",
    "likelihood_ratio_negative",
)  # fmt: skip
GROUPS_AT_ONCE = 8  # of subjects left out: their arrays stay in the cache
ONE_KIND = frozenset({"brier", "brier_prevalence", "specificity"})  # exist without a positive case
ONLY_POSITIVE = frozenset({"brier", "brier_prevalence", "sensitivity", "f1"})  # and without a negative one


class Binary:
    """One yes-or-no question: ranking, threshold and calibration metrics."""

    def __init__(self, truth_N: Floats, score_N: Floats, calls: Mapping[str | None, Mask | None]) -> None:
        """`truth_N` is 0 or 1, NaN where unknown (masked); `score_N` is a probability.

        `calls` are the positive calls_N at each operating point; None where the point does not exist.
        """
        self.truth_N, self.score_N = truth_N, score_N
        known_N = ~np.isnan(truth_N)
        self.positive_N = known_N & (truth_N == 1)
        self.negative_N = known_N & (truth_N == 0)
        self.known_N = known_N
        self.calls = calls
        self.square_N = np.where(known_N, (score_N - truth_N) ** 2, 0.0)
        self._sort(np.flatnonzero(known_N), score_N)

    def _sort(self, known: NDArray[np.intp], score_N: Floats) -> None:
        """Order the known samples by falling score, and find the groups of equal scores that hold a positive."""
        self.order = known[np.argsort(-score_N[known], kind="stable")]
        sorted_N = score_N[self.order]
        starts = np.flatnonzero(np.append(True, sorted_N[1:] != sorted_N[:-1])) if len(known) else known
        ends = np.append(starts[1:], len(known))
        ranked = np.flatnonzero(self.positive_N[self.order])
        group, self.first_of_G = np.unique(np.searchsorted(starts, ranked, side="right") - 1, return_index=True)
        self.starts_G, self.ends_G = starts[group], ends[group]
        self.positives = self.order[ranked]

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        columns = [self.known_N, self.positive_N]
        for call_N in self.calls.values():
            if call_N is not None:
                columns += [call_N & self.positive_N, call_N & self.known_N]
        # Counts: exact in floating point, so that the order of BLAS's sums does not matter.
        n_D, positives_D, *called = (weights_DN @ np.stack(columns, 1).astype(np.float64)).T
        values: Values = {}
        values["auroc", None], values["average_precision", None] = self._ranked(weights_DN, n_D, positives_D)
        values["brier", None] = ratio(np.einsum("dn,n->d", weights_DN, self.square_N), n_D)
        share_D = ratio(positives_D, n_D)
        values["brier_prevalence", None] = share_D * (1 - share_D)
        for point, call_N in self.calls.items():
            if call_N is None:
                values |= {(metric, point): np.full(len(n_D), np.nan) for metric in AT_THRESHOLD}
            else:
                true_D, called_D, *called = called
                values |= {
                    (metric, point): value_D
                    for metric, value_D in zip(
                        AT_THRESHOLD, at_threshold(true_D, called_D, positives_D, n_D), strict=True
                    )
                }
        return values

    def _ranked(self, weights_DN: Floats, n_D: Floats, positives_D: Floats) -> tuple[Floats, Floats]:
        """Return AUROC (Mann-Whitney, ties count half) and average precision (tied scores enter together).

        Both are sums over positives; G are the groups of equal scores that hold one.
        """
        if len(self.positives) == 0:
            return np.full(len(n_D), np.nan), np.full(len(n_D), np.nan)
        above_DN = np.zeros((len(n_D), len(self.order) + 1))
        np.cumsum(weights_DN[:, self.order], axis=1, out=above_DN[:, 1:])
        called_DG, before_DG = above_DN[:, self.ends_G], above_DN[:, self.starts_G]
        tied_DG = np.add.reduceat(weights_DN[:, self.positives], self.first_of_G, axis=1)
        true_DG = np.cumsum(tied_DG, axis=1)
        precision_DG = true_DG / np.maximum(called_DG, 1.0)  # called is 0 only where true is, too
        precision_D = ratio(np.einsum("dg,dg->d", tied_DG, precision_DG), positives_D)
        # Twice the negatives called before a positive, those tied with it counted half.
        false_DG = called_DG + before_DG - 2 * true_DG + tied_DG
        negatives_D = n_D - positives_D
        discordant_D = np.einsum("dg,dg->d", tied_DG, false_DG) / 2
        auroc_D = 1 - ratio(discordant_D, positives_D * negatives_D)
        return auroc_D, np.where(negatives_D > 0, precision_D, np.nan)

    def counted(self, metric: str) -> Mask:
        """Return the samples that a metric counts."""
        return self.known_N

    def note(self, metric: str) -> str | None:
        """Return what a reader must know of a value that is there."""
        return None

    # --- evidence -----------------------------------------------------------------------------------------------------

    def without_each(self, group_N: NDArray[np.intp], groups: int) -> Values:
        """Return the metrics that have no evidence but their values without each group of samples, all samples first.

        What a group takes from the counts of all is taken away: much faster than to count all again for each group.
        """
        count, known = len(self.ends_G), len(self.order)
        # The first group of equal scores with a positive that has the sample among its calls.
        enters_N = np.searchsorted(self.ends_G, np.arange(known), side="right")
        positive_N, group_N = self.positive_N[self.order], group_N[self.order]
        tied_G = np.bincount(enters_N[positive_N], minlength=count).astype(np.float64)
        values_J = np.full(1 + groups, np.nan)
        values_J[:1] = _average_precision(tied_G[None], self.ends_G[None].astype(np.float64), np.array([known]))
        sorted_N = np.argsort(group_N, kind="stable")
        size_J = np.bincount(group_N, minlength=groups)
        bounds = np.append(0, np.cumsum(size_J))
        for first in range(0, groups, GROUPS_AT_ONCE):
            rows = min(GROUPS_AT_ONCE, groups - first)
            members = sorted_N[bounds[first] : bounds[first + rows]]
            place = (group_N[members] - first) * (count + 1) + enters_N[members]
            fewer_JG, lost_JG = (
                np.bincount(of, minlength=rows * (count + 1)).reshape(rows, -1)[:, :count]
                for of in (place, place[positive_N[members]])
            )
            called_JG = self.ends_G - np.cumsum(fewer_JG, axis=1)
            values_J[1 + first : 1 + first + rows] = _average_precision(
                tied_G - lost_JG, called_JG, known - size_J[first : first + rows]
            )
        return {("average_precision", None): values_J}

    def evidence(self, left: Values, subjects: Subjects) -> dict[tuple[str, str | None], Evidence]:
        """Return what each metric's interval is computed from; `left` are all values of `without_each`."""
        positive_N, negative_N = self.positive_N, self.negative_N
        needs = {"with the condition": positive_N, "without the condition": negative_N}
        prevalence = positive_N.sum() / max(1, self.known_N.sum())
        found: dict[tuple[str, str | None], Evidence] = {
            ("auroc", None): Ranking(self.truth_N, self.score_N),
            ("average_precision", None): LeftOut(left["average_precision", None], needs, self.known_N),
            ("brier", None): Mean(np.where(self.known_N, self.square_N, np.nan)),
            # The mean of these is p (1 - p), and each subject moves them as it moves p (1 - p).
            ("brier_prevalence", None): Mean((self.truth_N - prevalence) ** 2),
        }
        for point, call_N in self.calls.items():
            if call_N is None:
                continue
            shares = {
                "sensitivity": Share(call_N & positive_N, positive_N),
                "specificity": Share(~call_N & negative_N, negative_N),
                "ppv": Share(call_N & positive_N, call_N & self.known_N),
                "npv": Share(~call_N & negative_N, ~call_N & self.known_N),
                "f1": Share(call_N & positive_N, call_N & self.known_N | positive_N, needs),
            }
            found |= {(metric, point): share for metric, share in shares.items()}
            hits, rest = (interval(name, shares[name], subjects) for name in ("sensitivity", "specificity"))
            missed = interval("sensitivity", Share(~call_N & positive_N, positive_N), subjects)
            alarms = interval("specificity", Share(call_N & negative_N, negative_N), subjects)
            found |= {("sensitivity", point): Ready(hits), ("specificity", point): Ready(rest)}  # are known already
            found["balanced_accuracy", point] = Members({"sensitivity": hits, "specificity": rest})
            found["likelihood_ratio_positive", point] = Ratio(hits, alarms)
            found["likelihood_ratio_negative", point] = Ratio(missed, rest)
        return found

    def why_undefined(self, metric: str, point: str | None = None) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        n, positives = int(self.known_N.sum()), int(self.positive_N.sum())
        if n == 0:
            return "no sample with a known answer"
        if positives == 0 and metric not in ONE_KIND:
            return f"no positive case among {n} known"
        if positives == n and metric not in ONLY_POSITIVE:
            return f"no negative case among {n} known"
        call_N = self.calls.get(point)
        if call_N is None:
            return None
        called = {"ppv": self.known_N & call_N, "npv": self.known_N & ~call_N}
        if metric in called and not called[metric].any():
            return f"nobody of {n} is called {'positive' if metric == 'ppv' else 'negative'}"
        if metric == "likelihood_ratio_positive" and not (call_N & self.negative_N).any():
            return "there is no false alarm, so that the ratio is infinite"
        if metric == "likelihood_ratio_negative" and (call_N | ~self.negative_N).all():
            return "every negative case is called positive, so that the ratio is infinite"
        return None


def at_threshold(true_D: Floats, called_D: Floats, positives_D: Floats, n_D: Floats) -> tuple[Floats, ...]:
    """Return the metrics of AT_THRESHOLD from counts: true calls, calls, positives, samples."""
    negatives_D = n_D - positives_D
    both_D = (positives_D > 0) & (negatives_D > 0)
    rejected_D = negatives_D - (called_D - true_D)  # rightly
    f1_D = np.where(positives_D > 0, ratio(2 * true_D, positives_D + called_D), np.nan)
    sensitivity_D = ratio(true_D, positives_D)
    specificity_D = ratio(rejected_D, negatives_D)
    ppv_D = np.where(both_D, ratio(true_D, called_D), np.nan)
    npv_D = np.where(both_D, ratio(rejected_D, n_D - called_D), np.nan)
    positive_D = ratio(sensitivity_D, (called_D - true_D) / np.where(negatives_D > 0, negatives_D, np.nan))
    negative_D = ratio((positives_D - true_D) / np.where(positives_D > 0, positives_D, np.nan), specificity_D)
    return f1_D, sensitivity_D, specificity_D, (sensitivity_D + specificity_D) / 2, ppv_D, npv_D, positive_D, negative_D


def _average_precision(tied_JG: Floats, called_JG: NDArray[Any], known_J: NDArray[np.intp]) -> Floats:
    """Return it from the positives in each group of equal scores and the calls down to it; NaN without both kinds."""
    if not tied_JG.shape[1]:
        return np.full(len(known_J), np.nan)
    true_JG = np.cumsum(tied_JG, axis=1)
    positives_J = true_JG[:, -1].copy()
    true_JG /= np.maximum(called_JG, 1)  # called is 0 only where true is, too
    sum_J = np.einsum("jg,jg->j", tied_JG, true_JG)
    return np.where((positives_J > 0) & (positives_J < known_J), sum_J / np.maximum(positives_J, 1), np.nan)


# --- thresholds -------------------------------------------------------------------------------------------------------


def operating_points(
    truth_N: Floats, score_N: Floats, wanted: Mapping[str, tuple[str, float]] | None = None
) -> dict[str, Threshold]:
    """Return name -> threshold, chosen on these validation samples: 0.5, the largest Youden index, and those wanted.

    `wanted`: name -> (sensitivity or specificity, the least that it shall be). A call is score >= threshold. Unknown
    truths (NaN) are left out.
    """
    found: dict[str, Threshold] = {HALF: 0.5, VALIDATION: youden_threshold(truth_N, score_N)}
    for name, (metric, least) in (wanted or {}).items():
        found[name] = threshold_reaching(metric, least, truth_N, score_N)
    return found


def threshold_reaching(metric: str, least: float, truth_N: Floats, score_N: Floats) -> Threshold:
    """Return the threshold that reaches a sensitivity with the fewest calls, or a specificity with the most.

    It lies midway between two scores, so that it does not sit on one validation sample.
    """
    if reason := _one_kind(truth_N):
        return reason
    scores_G = np.unique(score_N[~np.isnan(truth_N)])
    of_kind = np.sort(score_N[truth_N == (1 if metric == "sensitivity" else 0)])
    needed = max(1, ceil(least * len(of_kind) - 1e-9))  # so many on the right side, whatever rounding says
    if metric == "sensitivity":
        place = int(np.searchsorted(scores_G, of_kind[-needed]))
    else:
        place = int(np.searchsorted(scores_G, of_kind[needed - 1])) + 1
        if place == len(scores_G):
            return f"no threshold: a specificity of {least:g} on validation would call nobody positive"
    return _between(scores_G, place)


def _one_kind(truth_N: Floats) -> str | None:
    """Return why samples of one kind alone choose no threshold; None where there are both."""
    known = int((~np.isnan(truth_N)).sum())
    if known == 0:
        return "no threshold: no validation sample with a known answer"
    for name, value in (("negative", 0), ("positive", 1)):
        if not (truth_N == value).any():
            return f"no threshold: no {name} case among {known} known in the validation split"
    return None


def _between(scores_G: Floats, place: int) -> float:
    """Return a threshold midway between a score and the one below it."""
    if place == 0:
        return float(scores_G[0])
    middle = (scores_G[place - 1] + scores_G[place]) / 2
    return float(middle if middle > scores_G[place - 1] else scores_G[place])


def youden_threshold(truth_N: Floats, score_N: Floats) -> Threshold:
    """Return the threshold with the largest Youden index (sensitivity + specificity - 1), or why there is none.

    A call is score >= threshold. It lies midway between two scores, so that it does not sit on one validation sample;
    of equals the lowest is taken, the most sensitive one. Unknown truths (NaN) are left out.
    """
    if reason := _one_kind(truth_N):
        return reason
    known_N = ~np.isnan(truth_N)
    positive_N: NDArray[np.bool_] = truth_N[known_N] == 1
    scores_G, group_N = np.unique(score_N[known_N], return_inverse=True)
    positives_G = np.bincount(group_N, weights=positive_N)
    negatives_G = np.bincount(group_N, weights=~positive_N)
    # In whole numbers, so that equal J are equal.
    found_G = np.cumsum(positives_G[::-1])[::-1] * negatives_G.sum()
    false_G = np.cumsum(negatives_G[::-1])[::-1] * positives_G.sum()
    return _between(scores_G, int(np.argmax(found_G - false_G)))
