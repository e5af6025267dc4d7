"""Who is one person: the subject ids of samples, numbered once: sorting a million strings for each metric is slow.

Invariant: numbers follow the order of the sorted ids, so that the same people have the same numbers for all models.
Shape legend: N samples, S subjects.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.weighted import Mask


@dataclass(frozen=True)
class Subjects:
    """The number of each sample's subject, from 0 in the order of the ids, and how many subjects there are."""

    place_N: NDArray[np.intp]
    count: int

    @classmethod
    def of(cls, subject_N: "NDArray[Any] | Subjects") -> "Subjects":
        """Return the subjects of samples from their ids; what is numbered already stays as it is."""
        if isinstance(subject_N, Subjects):
            return subject_N
        ids_S, place_N = np.unique(np.asarray(subject_N, dtype=np.str_), return_inverse=True)
        return cls(place_N, len(ids_S))

    def take(self, rows_N: NDArray[np.intp] | Mask) -> "Subjects":
        """Return the subjects of some of the samples, numbered anew."""
        place_N = self.place_N[rows_N]
        there_S = np.bincount(place_N, minlength=self.count) > 0
        return Subjects((np.cumsum(there_S) - 1)[place_N], int(there_S.sum()))

    def among(self, mask_N: Mask) -> int:
        """Return how many subjects have at least one of these samples."""
        return int(np.count_nonzero(np.bincount(self.place_N[mask_N], minlength=self.count)))
