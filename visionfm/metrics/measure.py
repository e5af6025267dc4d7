"""One metric of one part of the samples: its value, and the evidence from which its interval and differences come.

The one place where both come together: `evaluate` takes the intervals, `compare` the differences of two models'
measures of the same samples. Shape legend: N samples.
"""

from dataclasses import dataclass
from functools import cached_property

from visionfm.metrics.evidence import Evidence, Interval
from visionfm.metrics.intervals import interval, out_of_fold
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Mask

Key = tuple[str | None, str, str | None]  # class, metric, operating point


@dataclass(frozen=True)
class Measure:
    """Of a class, of `macro` or (label None) of the whole.

    `value` is NaN where there is none, and `evidence` None; `reason` then says why, else what a reader must know of it.
    `subjects` are those of all N samples of the evidence; `known_N` are the samples that count.
    """

    label: str | None
    metric: str
    point: str | None
    value: float
    evidence: Evidence | None
    subjects: Subjects
    known_N: Mask
    n_positive: int | None = None
    threshold: float | None = None
    reason: str | None = None
    folds_people: int | None = None  # of answers of several folds' decoders: how many people those were trained on

    @property
    def key(self) -> Key:
        """Return what it is of: two models' measures with the same key are comparable."""
        return self.label, self.metric, self.point

    @cached_property
    def n(self) -> int:
        """Return how many samples count."""
        return int(self.known_N.sum())

    @cached_property
    def n_subjects(self) -> int:
        """Return how many people they are of."""
        return self.subjects.among(self.known_N)

    @cached_property
    def interval(self) -> Interval:
        """Return the 95 % interval, or the reason why there is none."""
        if self.evidence is None:
            return Interval(None, None, None, f"no interval: {self.reason}")
        found = interval(self.metric, self.evidence, self.subjects)
        return found if self.folds_people is None else out_of_fold(found, self.folds_people, self.metric)
