"""What an interval is computed from, and what it is.

All evidence of a part of the data has the same N samples, what is unknown is NaN, and their subject ids go with it.
Shape legend: N samples, S subjects, J leave-outs (the whole sample stands first).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from visionfm.metrics.weighted import Floats, Mask

NOTHING: Floats = np.zeros(0)


@dataclass(frozen=True)
class Interval:
    """Both limits and the method's name, or why there are none.

    `influence_S`: how far each subject (in the order of np.unique) moves the estimate; the sum of squares is its
    variance. Empty where it is not known.
    """

    low: float | None
    high: float | None
    method: str | None
    reason: str | None
    value: float = float("nan")
    influence_S: Floats = field(default_factory=lambda: NOTHING, repr=False, compare=False)


@dataclass(frozen=True)
class Ranking:
    """AUROC: `truth_N` 0 or 1, NaN where unknown; `score_N` any number, higher for the condition."""

    truth_N: Floats
    score_N: Floats


@dataclass(frozen=True)
class Share:
    """A proportion: `hit_N` among `of_N`. F1 too: the true calls among all that are positive or called so.

    `needs`: groups of which at least five subjects must be there besides, by their name.
    """

    hit_N: Mask
    of_N: Mask
    needs: Mapping[str, Mask] = field(default_factory=dict)


@dataclass(frozen=True)
class Mean:
    """A mean over images of `value_N`, NaN where unknown. RMSE: the mean of the squared errors."""

    value_N: Floats


@dataclass(frozen=True)
class LeftOut:
    """Any other: `values_J` under the weights of `jackknife.left_out`; of each group of `needs` five must be there."""

    values_J: Floats
    needs: Mapping[str, Mask]
    known_N: Mask | None = None  # the samples that count, where not all do


@dataclass(frozen=True)
class Members:
    """The plain mean of other metrics (over the same `subject_N`), by their names."""

    members: Mapping[str, Interval]


@dataclass(frozen=True)
class OverFolds:
    """The mean of folds' values; `together` is the interval of the metric of all their samples as one set."""

    value: float
    together: Interval


@dataclass(frozen=True)
class Ratio:
    """One share over another one of other samples: a likelihood ratio."""

    above: Interval
    below: Interval


@dataclass(frozen=True)
class Ready:
    """What its metric's own module computes with its interval."""

    interval: Interval


Evidence = Ranking | Share | Mean | LeftOut | Members | OverFolds | Ratio | Ready
