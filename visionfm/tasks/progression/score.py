"""What is asked of progression: of an event in time what vectors/score.py asks, of head `published` more.

Head `published` answers for each sample's own interval, and longer intervals hold more events: outcomes that were
exchanged at random within each interval keep an AUROC far above 0.5. So its headline compares samples of nearly the
same interval alone, and the AUROC of the interval by itself stands beside it.
Shapes: D draws, N samples, B bands, J leave-outs (the whole sample stands first).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.binary import Binary, operating_points
from visionfm.metrics.evidence import Evidence, LeftOut, Ranking
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Mask, Values, ratio
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors import score as vectors
from visionfm.tasks.vectors.score import Points, Wanted, called_at

BAND_DAYS = 365.25 / 4  # samples within one band count as asked at the same interval
WITHIN, OF_INTERVAL = ("auroc_within_intervals", None), ("auroc_of_interval", None)


class Forecast(Binary):
    """Progression by the sample's own interval."""

    def __init__(
        self, truth_N: Floats, score_N: Floats, calls: Mapping[str | None, Mask | None], days_N: Floats
    ) -> None:
        """`days_N` are the intervals."""
        super().__init__(truth_N, score_N, calls)
        self.days_N = days_N
        band_N = np.round(days_N / BAND_DAYS)
        self.bands: list[Binary] = []
        self.paired_N = np.zeros(len(truth_N), bool)  # in a band with a case and a non-case
        for band in np.unique(band_N[self.known_N]):
            of_band = Binary(np.where(band_N == band, truth_N, np.nan), score_N, {})
            if of_band.positive_N.any() and of_band.negative_N.any():
                self.bands.append(of_band)
                self.paired_N |= of_band.known_N

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        of_interval_D = Binary(self.truth_N, self.days_N, {})(weights_DN)["auroc", None]
        return {WITHIN: self._within(weights_DN), OF_INTERVAL: of_interval_D, **super().__call__(weights_DN)}

    def _within(self, weights_DN: Floats) -> Floats:
        """Return the share of pairs of a case and a non-case of one band that are in the right order."""
        right_D, pairs_D = np.zeros(len(weights_DN)), np.zeros(len(weights_DN))
        for band in self.bands:
            positives_D, negatives_D = (
                weights_DN @ mask_N.astype(np.float64) for mask_N in (band.positive_N, band.negative_N)
            )
            right_D += np.nan_to_num(band(weights_DN)["auroc", None]) * positives_D * negatives_D
            pairs_D += positives_D * negatives_D
        return ratio(right_D, pairs_D)

    def without_each(self, group_N: NDArray[np.intp], groups: int) -> Values:
        """Return the metrics whose only evidence is their values without each group of samples; all samples first."""
        within = [self._within(np.ones((1, len(group_N))))]
        within += [self._within((group_N != group)[None].astype(np.float64)) for group in range(groups)]
        return {WITHIN: np.concatenate(within), **super().without_each(group_N, groups)}

    def evidence(self, left: Values, subjects: Subjects) -> dict[tuple[str, str | None], Evidence]:
        """Return what each metric's interval is computed from; `left` are all values of `without_each`."""
        where = "in bands of intervals with both"
        needs = {
            f"with the condition, {where}": self.positive_N & self.paired_N,
            f"without the condition, {where}": self.negative_N & self.paired_N,
        }
        found = super().evidence(left, subjects)
        return {
            WITHIN: LeftOut(left[WITHIN], needs, self.paired_N),
            OF_INTERVAL: Ranking(self.truth_N, self.days_N),
            **found,
        }

    def counted(self, metric: str) -> Mask:
        """Return the samples that a metric counts."""
        return self.paired_N if metric == WITHIN[0] else super().counted(metric)

    def note(self, metric: str) -> str | None:
        """Return what a reader must know of a value that is there."""
        known, alone = int(self.known_N.sum()), int((self.known_N & ~self.paired_N).sum())
        if metric != WITHIN[0] or not alone:
            return None
        return f"{alone} of {known} left out: no other outcome within a quarter of a year of their interval"

    def why_undefined(self, metric: str, point: str | None = None) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        reason = super().why_undefined("auroc" if metric in (WITHIN[0], OF_INTERVAL[0]) else metric, point)
        if reason is None and metric == WITHIN[0] and not self.bands:
            return f"no quarter of a year of intervals has both a case and a non-case among {self.known_N.sum()} known"
        return reason


def thresholds(target: TargetSpec, truth_NK: Floats, score_NK: Floats, wanted: Wanted) -> list[Points]:
    """Return the operating points of head `published`, chosen on these validation samples."""
    if target.type == "event":
        return vectors.thresholds(target, truth_NK, score_NK, wanted)
    return [operating_points(truth_NK[:, 0], score_NK[:, 0], wanted)]


def scorers(
    target: TargetSpec, truth_NK: Floats, score_NK: Floats, chosen_K: Sequence[Points]
) -> dict[str | None, Any]:
    """Return label -> what measures these samples; truth is (event, days) in either case."""
    if target.type == "event":
        return vectors.scorers(target, truth_NK, score_NK, chosen_K)
    (event_N, days_N), score_N = truth_NK.T, score_NK[:, 0]
    return {None: Forecast(event_N, score_N, called_at(score_N, chosen_K[0]), days_N)}
