"""Survival metrics as functions of sample weights (`weighted`).

Right-censored times: `event` says whether it was seen at `time`, or not until then. Weighting by the inverse
probability of being uncensored (IPCW) uses the Kaplan-Meier estimate of censoring in the same samples, anew in every
draw; at equal times events come before censorings. Higher risk means an earlier event.
Shape legend: D draws, N samples, U different times, E samples with an event, K times of prediction, J leave-outs.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.evidence import Evidence, LeftOut
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Mask, Values, ratio

BLOCK = 2_000_000  # entries of a matrix of pairs that are held as floats at a time


class Censoring:
    """The Kaplan-Meier estimate G of being uncensored, for each draw."""

    def __init__(self, time_N: Floats, event_N: Mask) -> None:
        """`time_N` are finite."""
        self.order = np.argsort(time_N, kind="stable")
        self.times_U, self.starts_U = np.unique(time_N[self.order], return_index=True)
        self.place_N = np.searchsorted(self.times_U, time_N)
        self.event_N = event_N

    def __call__(self, weights_DN: Floats) -> Floats:
        """Return G_DU1: before the first time (1), then after each of `times_U`."""
        sorted_DN, event_N = weights_DN[:, self.order], self.event_N[self.order]
        all_DU = np.add.reduceat(sorted_DN, self.starts_U, axis=1)
        events_DU = np.add.reduceat(sorted_DN * event_N, self.starts_U, axis=1)
        at_risk_DU = np.cumsum(all_DU[:, ::-1], axis=1)[:, ::-1] - events_DU
        stays_DU = 1 - np.divide(all_DU - events_DU, at_risk_DU, out=np.zeros_like(all_DU), where=at_risk_DU > 0)
        return np.concatenate([np.ones((len(weights_DN), 1)), np.cumprod(stays_DU, axis=1)], axis=1)

    def before_own_time(self, g_DU1: Floats) -> Floats:
        """Return G_DN just before each sample's own time."""
        return g_DU1[:, self.place_N]

    def at(self, g_DU1: Floats, time: float) -> Floats:
        """Return G_D at a time."""
        return g_DU1[:, np.searchsorted(self.times_U, time, side="right")]


def _inverse(g_D: Floats) -> Floats:
    return np.divide(1, g_D, out=np.full_like(g_D, np.nan), where=g_D > 0)


class _Survival(ABC):
    """What all scorers of survival share: who is known, who had the event."""

    def __init__(self, event_N: Floats, time_N: Floats) -> None:
        self.known_N = ~np.isnan(event_N) & ~np.isnan(time_N)
        self.positive_N = self.known_N & (event_N == 1)
        self.known = np.flatnonzero(self.known_N)
        self.event, self.time = self.positive_N[self.known], time_N[self.known]
        self.censoring = Censoring(self.time, self.event) if len(self.known) else None

    @abstractmethod
    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""

    def left_out(self, weights_JN: Floats) -> Values:
        """Return the values without each group of subjects: of no metric there is other evidence."""
        return self(weights_JN)

    def evidence(self, left: Values, subjects: Subjects) -> dict[tuple[str, str | None], Evidence]:
        """Return what each metric's interval is computed from; `left` are all values of `left_out`."""
        return {key: LeftOut(values_J, self._needs(key[0]), self.known_N) for key, values_J in left.items()}

    @abstractmethod
    def _needs(self, metric: str) -> dict[str, Mask]:
        """Return of whom five subjects must be there: name -> mask_N."""

    def _where(self, known: Mask | NDArray[np.intp]) -> Mask:
        """Return a mask of all samples from one (or places) among the known."""
        found_N = np.zeros(len(self.known_N), bool)
        found_N[self.known[known]] = True
        return found_N

    def _nothing(self) -> str | None:
        return None if len(self.known) else "no sample with a known answer"


class Whole(_Survival):
    """Concordance (Harrell; Uno with IPCW) of a risk, and the Brier score integrated over the times of prediction."""

    def __init__(self, event_N: Floats, time_N: Floats, risk_N: Floats, risk_by_NK: Floats, times_K: Floats) -> None:
        """`risk_by_NK` are the predicted probabilities of the event by each of `times_K`, which rise.

        Uno's concordance looks at events before the last of them; the Brier score is integrated from the first to the
        last at which somebody is still followed.
        """
        super().__init__(event_N, time_N)
        self.times_K = times_K
        self.briers = [AtTime(event_N, time_N, risk_by_NK[:, k], time) for k, time in enumerate(times_K)]
        self.used = [brier for brier in self.briers if brier.why_undefined("time_dependent_brier") is None]
        risk, time, event = risk_N[self.known], self.time, self.event
        self.cases = np.flatnonzero(event)
        later_EN = time[self.cases, None] < time
        self.pair_EN = later_EN | ((time[self.cases, None] == time) & ~event)
        higher_EN = np.sign(risk[self.cases, None] - risk).astype(np.int8) + np.int8(1)
        self.twice_EN = np.where(self.pair_EN, higher_EN, np.int8(0))  # 2 right, 1 tied, 0 wrong or not comparable

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        nothing_D = np.full(len(weights_DN), np.nan)
        if self.censoring is None:
            return {("concordance", None): nothing_D, ("concordance_ipcw", None): nothing_D.copy(),
                    ("integrated_brier", None): nothing_D.copy()}  # fmt: skip
        drawn_DN = np.ascontiguousarray(weights_DN[:, self.known])
        g_DU1 = self.censoring(drawn_DN)
        right_DE, pairs_DE = self._pairs(drawn_DN, self.twice_EN) / 2, self._pairs(drawn_DN, self.pair_EN)
        cases_DE = drawn_DN[:, self.cases]
        before_DE = self.censoring.before_own_time(g_DU1)[:, self.cases]
        ipcw_DE = cases_DE * np.nan_to_num(_inverse(before_DE)) ** 2 * (self.time[self.cases] < self.times_K[-1])
        return {
            ("concordance", None): ratio((cases_DE * right_DE).sum(axis=1), (cases_DE * pairs_DE).sum(axis=1)),
            ("concordance_ipcw", None): ratio((ipcw_DE * right_DE).sum(axis=1), (ipcw_DE * pairs_DE).sum(axis=1)),
            ("integrated_brier", None): self._integrated(weights_DN),
        }

    def _pairs(self, drawn_DN: Floats, pair_EN: NDArray[np.generic]) -> Floats:
        """Return, for each case, the weight of its pairs. Whole numbers: exact, whatever the order of BLAS's sums."""
        rows = max(1, BLOCK // max(1, len(self.known)))
        parts = [
            drawn_DN @ pair_EN[first : first + rows].T.astype(np.float64) for first in range(0, len(pair_EN), rows)
        ]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(drawn_DN), 0))

    def _needs(self, metric: str) -> dict[str, Mask]:
        if metric == "integrated_brier":
            return {}
        return {"with the event": self.positive_N, "free of it beyond an event": self._where(self.pair_EN.any(axis=0))}

    def _integrated(self, weights_DN: Floats) -> Floats:
        if len(self.used) < 2:
            return np.full(len(weights_DN), np.nan)
        times = np.array([brier.time_limit for brier in self.used])
        values_KD = np.stack([brier.brier(weights_DN) for brier in self.used])
        area_D = ((values_KD[1:] + values_KD[:-1]) / 2 * np.diff(times)[:, None]).sum(axis=0)
        return np.asarray(area_D / (times[-1] - times[0]))

    def why_undefined(self, metric: str, point: str | None = None) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        if nothing := self._nothing():
            return nothing
        if metric == "integrated_brier":
            return None if len(self.used) > 1 else "follow-up ends before the second time of prediction"
        if not len(self.cases):
            return f"no event among {len(self.known)} known"
        if not self.pair_EN.any():
            return "no two samples can be compared: nobody is followed beyond an event"
        if metric == "concordance_ipcw":
            return f"no event before {self.times_K[-1]:g} days with somebody followed beyond it"
        return None

    def note(self, metric: str) -> str | None:
        """Return what a reader must know of a value that is there."""
        if metric == "integrated_brier" and len(self.used) < len(self.briers):
            return f"over {self.used[0].time_limit:g} to {self.used[-1].time_limit:g} days, where follow-up ends"
        return None


class AtTime(_Survival):
    """Of the predicted probability of the event by one time: AUROC of those with it by then against those after it.

    Both are weighted by IPCW (cumulative cases, dynamic controls; Uno et al. 2007, Hung and Chiang 2010), as is the
    Brier score (Graf et al. 1999).
    """

    def __init__(self, event_N: Floats, time_N: Floats, risk_by_N: Floats, time_limit: float) -> None:
        """`risk_by_N` are probabilities of the event by `time_limit`."""
        super().__init__(event_N, time_N)
        self.time_limit = time_limit
        self.risk = risk_by_N[self.known]
        self.case = self.event & (self.time <= time_limit)
        self.control = self.time > time_limit
        self.positive_N = self.positive_N & (np.nan_to_num(time_N, nan=np.inf) <= time_limit)
        self.cases, controls = np.flatnonzero(self.case), np.flatnonzero(self.control)
        self.controls = controls
        ordered = np.sort(self.risk[controls], kind="stable")
        self.order = controls[np.argsort(self.risk[controls], kind="stable")]
        self.below = np.searchsorted(ordered, self.risk[self.cases], side="left")
        self.upto = np.searchsorted(ordered, self.risk[self.cases], side="right")

    def __call__(self, weights_DN: Floats) -> Values:
        """Return both metrics of each draw: values_D."""
        return {("time_dependent_auroc", None): self._auroc(weights_DN),
                ("time_dependent_brier", None): self.brier(weights_DN)}  # fmt: skip

    def _needs(self, metric: str) -> dict[str, Mask]:
        by_then_N, beyond_N = self._where(self.case), self._where(self.control)
        if metric == "time_dependent_brier":
            return {"whose state then is known": by_then_N | beyond_N}
        return {"with the event by then": by_then_N, "free of it beyond then": beyond_N}

    def _weighted_cases(self, drawn_DN: Floats, g_DU1: Floats) -> Floats:
        assert self.censoring is not None
        before_DE = self.censoring.before_own_time(g_DU1)[:, self.cases]
        return drawn_DN[:, self.cases] * np.nan_to_num(_inverse(before_DE))

    def _auroc(self, weights_DN: Floats) -> Floats:
        if self.censoring is None:
            return np.full(len(weights_DN), np.nan)
        drawn_DN = np.ascontiguousarray(weights_DN[:, self.known])
        cases_DE = self._weighted_cases(drawn_DN, self.censoring(drawn_DN))
        lower_DM = np.zeros((len(drawn_DN), len(self.order) + 1))
        np.cumsum(drawn_DN[:, self.order], axis=1, out=lower_DM[:, 1:])
        right_DE = (lower_DM[:, self.below] + lower_DM[:, self.upto]) / 2
        # The controls' common weight 1/G(time) cancels.
        return ratio((cases_DE * right_DE).sum(axis=1), cases_DE.sum(axis=1) * lower_DM[:, -1])

    def brier(self, weights_DN: Floats) -> Floats:
        """Return the Brier score of each draw; NaN where everybody may have been censored before the time."""
        if self.censoring is None:
            return np.full(len(weights_DN), np.nan)
        drawn_DN = np.ascontiguousarray(weights_DN[:, self.known])
        g_DU1 = self.censoring(drawn_DN)
        cases_D = (self._weighted_cases(drawn_DN, g_DU1) * (1 - self.risk[self.cases]) ** 2).sum(axis=1)
        controls_D = (drawn_DN[:, self.controls] * self.risk[self.controls] ** 2).sum(axis=1)
        reached_D = self.censoring.at(g_DU1, self.time_limit)
        return ratio(cases_D + controls_D * np.nan_to_num(_inverse(reached_D)), drawn_DN.sum(axis=1) * (reached_D > 0))

    def why_undefined(self, metric: str, point: str | None = None) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        if nothing := self._nothing():
            return nothing
        if metric == "time_dependent_brier":
            missing = np.isnan(self.brier(np.ones((1, len(self.known_N)))))[0]
            return f"follow-up ends before {self.time_limit:g} days" if missing else None
        if not self.case.any():
            return f"no event by {self.time_limit:g} days among {len(self.known)} known"
        if not self.control.any():
            return f"nobody is known to be free of the event after {self.time_limit:g} days"
        return None
