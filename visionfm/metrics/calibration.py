"""Calibration of probabilities: does what is predicted at 30 % happen in 30 % of the cases? With intervals by subjects.

- Calibration in the large: share of cases minus mean probability. 0 is right, above 0 probabilities are too low.
- Calibration intercept (target 0) and slope (target 1): the logistic regression of the outcome on the log odds of the
  probability (Cox, Biometrika 1958, 45:562); the intercept with the slope held at 1 (Van Calster et al., BMC Med 2019,
  17:230). A slope below 1 says that probabilities are too extreme.
- ECE: the mean distance of predicted and observed shares over bins of equally many answers. In few samples even a
  perfectly calibrated model shows some (`ece_by_chance`). `ece` takes it out; `ece_plain` is what papers report.

Invariant: the subject is the unit of every interval; whoever has fewer than five subjects with and without the
condition gets a reason. Coverage is measured in bench/calibration.py.
Shape legend: N samples, S subjects, B bins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from visionfm.metrics.evidence import Interval
from visionfm.metrics.intervals import by_influence, few_subjects, no_interval, t_quantile, welch
from visionfm.metrics.limits import FEWEST_SUBJECTS
from visionfm.metrics.scales import SHARE, scale_of
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats

METRICS = (
    "calibration_slope", "calibration_intercept", "calibration_in_the_large", "ece", "ece_plain", "ece_by_chance",
)  # fmt: skip
WITHOUT_INTERVAL = {
    "ece_plain": "no interval: chance alone makes it larger than it is; ECE without this has one",
    "ece_by_chance": "no interval: it follows from the probabilities and the number of samples",
}
BEFORE = "before calibration"  # the operating point of rows of probabilities that `calibrate` then changed
LEAST_ODDS = 1e-9  # a probability of 0 or 1 has no log odds: it counts as this far from it
BINS, FEWEST_IN_BIN = 10, 10
STEPS = 50
KNOTS, MANY_FOR_SPLINE = (0.05, 0.35, 0.65, 0.95), 50  # quantiles; so many cases and non-cases
CURVE_POINTS = 60


def log_odds(probability_N: Floats) -> Floats:
    """Return them; probabilities within 1e-9 of 0 or 1 count as that far from it."""
    found: Floats = special.logit(np.clip(probability_N, LEAST_ODDS, 1 - LEAST_ODDS))
    return found


def calibration(truth_N: Floats, probability_N: Floats, subject_N: NDArray[Any] | Subjects) -> Mapping[str, Interval]:
    """Return metric -> value, and its 95 % interval over subjects or the reason why there is none, for METRICS.

    `truth_N` is 0 or 1, NaN where unknown (left out); a value that does not exist is NaN.
    """
    subjects, known_N = Subjects.of(subject_N), ~np.isnan(truth_N)
    # All subjects keep their numbers, so that influences of questions with other known samples join.
    of_known = Subjects(subjects.place_N[known_N], subjects.count)
    found = Calibration(truth_N[known_N], probability_N[known_N], of_known)
    return {metric: getattr(found, metric.removeprefix("calibration_")) for metric in METRICS}


@dataclass(frozen=True)
class Calibration:
    """The metrics of these samples, each an `Interval` with its value; truths are known, subjects may have none."""

    truth_N: Floats
    probability_N: Floats
    subjects: Subjects

    # --- intercept and slope ------------------------------------------------------------------------------------------

    @cached_property
    def slope(self) -> Interval:
        """Return the slope of the outcome on the log odds; none where a line separates cases from non-cases."""
        if reason := self._without_both() or self._separated():
            return no_interval(reason)
        odds_N = self._odds_N
        found = logistic(np.stack([np.ones(len(odds_N)), odds_N], axis=1), np.zeros(len(odds_N)), self.truth_N)
        return self._of_influence("calibration_slope", found[1], self._moves(odds_N, found)[1])

    @cached_property
    def intercept(self) -> Interval:
        """Return the intercept with the slope held at 1: log odds by which all predictions are too low."""
        if reason := self._without_both():
            return no_interval(reason)
        odds_N = self._odds_N
        (value,) = logistic(np.ones((len(odds_N), 1)), odds_N, self.truth_N)
        expected_N = special.expit(odds_N + value)
        weight_S = self._per_subject(expected_N * (1 - expected_N))
        rest_S = weight_S.sum() - weight_S
        moves_S = self._per_subject(self.truth_N - expected_N) / np.where(rest_S > 0, rest_S, np.nan)
        return self._of_influence("calibration_intercept", float(value), moves_S)

    @cached_property
    def in_the_large(self) -> Interval:
        """Return the share of cases minus the mean probability."""
        if not len(self.truth_N):
            return no_interval("no sample with a known answer")
        gap_N = self.truth_N - self.probability_N
        value, widened = float(gap_N.mean()), self._count / max(1, self._count - 1)
        moves_S = self._per_subject(gap_N - value) / len(gap_N) * widened
        return self._of_influence("calibration_in_the_large", value, moves_S)

    def _moves(self, odds_N: Floats, found: Floats) -> Floats:
        """Return (2, S): how far leaving out each subject moves intercept and slope, by one step of Newton's."""
        expected_N = special.expit(found[0] + found[1] * odds_N)
        weight_N, residual_N = expected_N * (1 - expected_N), self.truth_N - expected_N
        a_S, b_S, c_S = (self._per_subject(weight_N * odds_N**power) for power in range(3))
        first_S, second_S = self._per_subject(residual_N), self._per_subject(residual_N * odds_N)
        a_S, b_S, c_S = (total_S.sum() - total_S for total_S in (a_S, b_S, c_S))
        determinant_S = a_S * c_S - b_S**2
        determinant_S = np.where(determinant_S > 1e-12 * a_S * c_S, determinant_S, np.nan)
        return np.stack([c_S * first_S - b_S * second_S, a_S * second_S - b_S * first_S]) / determinant_S

    def _of_influence(self, metric: str, value: float, moves_S: Floats) -> Interval:
        """Return the interval from how far each subject moves the value (the jackknife's differences)."""
        count, persons = self._count, self._persons()
        for name, found in persons.items():
            if found < FEWEST_SUBJECTS:
                return no_interval(few_subjects(name, found), value)
        if np.isnan(moves_S).any():
            return no_interval("the metric does not exist without some of the subjects", value)
        there_S = self._per_subject(np.ones(len(self.truth_N))) > 0
        influence_S = np.sqrt((count - 1) / count) * there_S * (moves_S - moves_S.sum() / count)
        freedom = min(welch(*persons.values()), count - 1)
        return by_influence(value, influence_S, count, freedom, "jackknife over subjects, t", scale_of(metric))

    # --- expected calibration error -----------------------------------------------------------------------------------

    @cached_property
    def ece_plain(self) -> Interval:
        """Return the mean over bins of |share of cases - mean probability|, each bin by its answers."""
        if not len(self.truth_N):
            return no_interval("no sample with a known answer")
        return Interval(None, None, None, WITHOUT_INTERVAL["ece_plain"], float(self._share_B @ abs(self._gap_B)))

    @cached_property
    def ece_by_chance(self) -> Interval:
        """Return what `ece_plain` would be on average if every probability were right."""
        if not len(self.truth_N):
            return no_interval("no sample with a known answer")
        value = self._mean_of_gaps(np.zeros_like(self._gap_B))
        return Interval(None, None, None, WITHOUT_INTERVAL["ece_by_chance"], value)

    @cached_property
    def ece(self) -> Interval:
        """Return the ECE without what chance adds, and its interval.

        Gaps of bins are normal, so that their sizes are folded normal (Leone, Nelson and Nottingham, Technometrics
        1961, 3:543), with means above the true sizes. True gaps are taken to be the seen ones times a factor: the value
        is that of the factor which gives the plain ECE on average; the limits are those of the factors under which the
        plain ECE would lie at an end of its 95 % range.
        """
        if not len(self.truth_N):
            return no_interval("no sample with a known answer")
        seen = self.ece_plain.value
        value = seen * self._factor(seen, 0.0)
        for name, found in self._persons().items():
            if found < FEWEST_SUBJECTS:
                return no_interval(few_subjects(name, found), value)
        quantile = t_quantile(self._count - 1)
        low, high = (seen * self._factor(seen, sign * quantile) for sign in (1, -1))
        if not low < high:
            return no_interval("all probabilities are right, which says nothing of how far others differ", value)
        sign_B = _sign(self._gap_B, self._error_B)
        influence_S = (self._share_B * sign_B) @ self._influence_BS
        high, method = min(high, SHARE.highest), "folded normal gaps of bins over subjects, t"
        return Interval(low, high, method, None, value, influence_S)

    def _factor(self, seen: float, quantile: float) -> float:
        """Return the factor f of the seen gaps with mean(f) + quantile x error(f) = `seen`; 0 where all f give more."""

        def above(factor: float) -> float:
            gap_B = factor * self._gap_B
            return self._mean_of_gaps(gap_B) + quantile * self._error_of_gaps(gap_B) - seen

        if seen == 0 or above(0.0) >= 0:
            return 0.0
        high = 1.0
        while above(high) < 0:
            high *= 2
        return float(optimize.brentq(above, 0.0, high))

    def _mean_of_gaps(self, gap_B: Floats) -> float:
        return float(self._share_B @ _folded_mean(gap_B, self._error_B))

    def _error_of_gaps(self, gap_B: Floats) -> float:
        """Return the standard error of the plain ECE where the true gaps are these."""
        sign_B = _sign(gap_B, self._error_B)
        covariance_BB = self._covariance_BB * np.outer(sign_B, sign_B)
        np.fill_diagonal(covariance_BB, gap_B**2 + self._error_B**2 - _folded_mean(gap_B, self._error_B) ** 2)
        return float(np.sqrt(max(0.0, float(self._share_B @ covariance_BB @ self._share_B))))

    @cached_property
    def _bins(self) -> tuple[NDArray[np.intp], Floats]:
        """Return the bin of each sample, by rank of its probability (equal ones stay together), and the bins' sizes."""
        count = len(self.probability_N)
        wanted = int(np.clip(count // FEWEST_IN_BIN, 1, BINS))
        values_G, group_N = np.unique(self.probability_N, return_inverse=True)
        size_G = np.bincount(group_N)
        middle_G = np.cumsum(size_G) - size_G / 2
        bin_G = np.minimum((middle_G * wanted / count).astype(np.intp), wanted - 1)
        _, bin_N = np.unique(bin_G[group_N], return_inverse=True)
        return bin_N, np.bincount(bin_N).astype(np.float64)

    @cached_property
    def _share_B(self) -> Floats:
        found: Floats = self._bins[1] / self._bins[1].sum()
        return found

    @cached_property
    def _gap_B(self) -> Floats:
        bin_N, size_B = self._bins
        return np.bincount(bin_N, self.truth_N - self.probability_N) / size_B

    @cached_property
    def _influence_BS(self) -> Floats:
        """Return how far each subject moves each bin's gap; 0 in a bin of one subject alone."""
        bin_N, size_B = self._bins
        places = len(size_B) * self.subjects.count
        place_N = bin_N * self.subjects.count + self.subjects.place_N
        rest_N = self.truth_N - self.probability_N - self._gap_B[bin_N]
        sum_BS = np.bincount(place_N, rest_N, places).reshape(len(size_B), -1)
        persons_B = (np.bincount(place_N, minlength=places).reshape(len(size_B), -1) > 0).sum(axis=1)
        widened_B = np.sqrt(persons_B / np.maximum(persons_B - 1, 1))
        return np.asarray(sum_BS * (widened_B / size_B)[:, None])

    @cached_property
    def _covariance_BB(self) -> Floats:
        return self._influence_BS @ self._influence_BS.T

    @cached_property
    def _error_B(self) -> Floats:
        """Return the standard errors of the bins' gaps: what subjects show, and no less than the probabilities say.

        A bin without a case shows no spread at all.
        """
        bin_N, size_B = self._bins
        expected_B = np.bincount(bin_N, self.probability_N * (1 - self.probability_N)) / size_B**2
        return np.sqrt(np.maximum(np.diag(self._covariance_BB), np.maximum(expected_B, 1e-18)))

    # --- whom ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _odds_N(self) -> Floats:
        return log_odds(self.probability_N)

    @cached_property
    def _count(self) -> int:
        return self.subjects.among(np.ones(len(self.truth_N), bool))

    def _per_subject(self, value_N: Floats) -> Floats:
        return np.asarray(np.bincount(self.subjects.place_N, value_N, self.subjects.count), dtype=np.float64)

    def _persons(self) -> dict[str, int]:
        return {
            "with the condition": self.subjects.among(self.truth_N == 1),
            "without the condition": self.subjects.among(self.truth_N == 0),
        }

    def _without_both(self) -> str | None:
        known, cases = len(self.truth_N), int(self.truth_N.sum())
        if known == 0:
            return "no sample with a known answer"
        if cases == 0:
            return f"no positive case among {known} known"
        return f"no negative case among {known} known" if cases == known else None

    def _separated(self) -> str | None:
        """Return why a slope does not exist: scores are all equal, or tell all cases from all non-cases."""
        case_N = self.truth_N == 1
        cases_N, others_N = self.probability_N[case_N], self.probability_N[~case_N]
        if np.ptp(self._odds_N) == 0:
            return "all probabilities are the same"
        if cases_N.min() >= others_N.max() or cases_N.max() <= others_N.min():
            return "probabilities separate all cases from all non-cases, so that the slope is infinite"
        return None


class Curve(NamedTuple):
    """Observed shares over probabilities said, smoothed, with a pointwise 95 % band (NaN where there is none)."""

    said_G: Floats
    observed_G: Floats
    low_G: Floats
    high_G: Floats


def curve(
    truth_N: Floats, probability_N: Floats, subject_N: NDArray[Any] | Subjects, wider: float = 1.0
) -> Curve | None:
    """Return the smooth calibration curve; None where cases and non-cases cannot be told to overlap.

    Logistic regression on a restricted cubic spline of the log odds (Harrell, Regression Modeling Strategies, 2nd ed.,
    2.4.5) with four knots; a line where fewer than 50 are of one kind. The band is the sandwich, clustered by subject,
    with Student's t; `wider` multiplies the error (of folds, `intervals.wider_by`). All truths are known. The curve
    ends at the 1st and 99th percentile of what was said.
    """
    case_N, odds_N = truth_N == 1, log_odds(probability_N)
    fewer, subjects = min(case_N.sum(), (~case_N).sum()), Subjects.of(subject_N)
    if fewer < FEWEST_SUBJECTS or np.ptp(odds_N) == 0:
        return None
    if odds_N[case_N].min() >= odds_N[~case_N].max() or odds_N[case_N].max() <= odds_N[~case_N].min():
        return None
    knots_K = np.unique(np.quantile(odds_N, KNOTS)) if fewer >= MANY_FOR_SPLINE else np.zeros(0)
    first, last = (float(at) for at in special.expit(np.quantile(odds_N, [0.01, 0.99])))
    grid_G = log_odds(np.linspace(first, last, CURVE_POINTS))
    design_NP, design_GP = (
        _spline(at, knots_K if len(knots_K) == len(KNOTS) else np.zeros(0)) for at in (odds_N, grid_G)
    )
    found_P = logistic(design_NP, np.zeros(len(odds_N)), truth_N)
    expected_N = special.expit(design_NP @ found_P)
    bread_PP = np.linalg.pinv((design_NP * (expected_N * (1 - expected_N))[:, None]).T @ design_NP)
    residual_NP = design_NP * (truth_N - expected_N)[:, None]
    score_SP = np.stack([np.bincount(subjects.place_N, column, subjects.count) for column in residual_NP.T], axis=1)
    covariance_PP = bread_PP @ score_SP.T @ score_SP @ bread_PP * subjects.count / max(1, subjects.count - 1)
    place_G, error_G = design_GP @ found_P, np.sqrt(np.einsum("gp,pq,gq->g", design_GP, covariance_PP, design_GP))
    persons = min(subjects.among(case_N), subjects.among(~case_N))
    reach_G = wider * t_quantile(persons - 1) * error_G if persons >= FEWEST_SUBJECTS else np.full(len(grid_G), np.nan)
    limits = (special.expit(place_G + sign * reach_G) for sign in (0.0, -1.0, 1.0))
    return Curve(special.expit(grid_G), special.expit(place_G), *list(limits)[1:])


def _spline(odds_N: Floats, knots_K: Floats) -> Floats:
    """Return the columns of a restricted cubic spline, linear beyond its outer knots; without knots a line."""
    columns = [np.ones(len(odds_N)), odds_N]
    if len(knots_K):
        last, before = knots_K[-1], knots_K[-2]

        def cubed(knot: float) -> Floats:
            return np.asarray(np.maximum(odds_N - knot, 0.0) ** 3)

        for knot in knots_K[:-2]:
            tail = cubed(before) * (last - knot) - cubed(last) * (before - knot)
            columns.append((cubed(knot) - tail / (last - before)) / (last - knots_K[0]) ** 2)
    return np.stack(columns, axis=1)


def logistic(design_NP: Floats, offset_N: Floats, truth_N: Floats) -> Floats:
    """Return the maximum likelihood of a logistic regression by Newton's method, steps halved where they overshoot.

    `design_NP` has a column for each coefficient that is returned; `truth_N` may be any share from 0 to 1.
    """
    found_P = np.zeros(design_NP.shape[1])

    def loss(at_P: Floats) -> tuple[float, Floats]:
        """Return minus the log likelihood and the expected shares; by numpy's exp, much faster than logaddexp."""
        odds_N = offset_N + design_NP @ at_P
        tail_N = np.exp(-np.abs(odds_N))
        expected_N = np.where(odds_N >= 0, 1.0, tail_N) / (1 + tail_N)
        return float((np.maximum(odds_N, 0.0) + np.log1p(tail_N)).sum() - truth_N @ odds_N), expected_N

    here, expected_N = loss(found_P)
    for _ in range(STEPS):
        weight_N = expected_N * (1 - expected_N)
        slope_P = design_NP.T @ (truth_N - expected_N)
        step_P = np.linalg.lstsq((design_NP * weight_N[:, None]).T @ design_NP, slope_P, rcond=None)[0]
        scale = 1.0
        there, expected_N = loss(found_P + step_P)
        while there > here + 1e-12 * abs(here) and scale > 1e-6:
            scale /= 2
            there, expected_N = loss(found_P + scale * step_P)
        found_P, here = found_P + scale * step_P, there
        if np.abs(scale * step_P).max() < 1e-10 * (1 + np.abs(found_P).max()):
            break
    return found_P


def _folded_mean(gap_B: Floats, error_B: Floats) -> Floats:
    """Return the mean size of a normal number of this mean and standard error."""
    z_B = gap_B / error_B
    found: Floats = error_B * np.sqrt(2 / np.pi) * np.exp(-(z_B**2) / 2) + gap_B * (2 * special.ndtr(z_B) - 1)
    return found


def _sign(gap_B: Floats, error_B: Floats) -> Floats:
    """Return the mean sign of such a number."""
    found: Floats = 2 * special.ndtr(gap_B / error_B) - 1
    return found
