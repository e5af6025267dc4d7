"""Leaving out subjects, each with all its samples: the weights under which metrics are computed again.

Invariant: depends on the sorted subject ids alone, so that models scored on the same subjects are left out alike.
Shape legend: N samples, S subjects, J leave-outs (the whole sample stands first).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.limits import CHUNK_BYTES
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats

# More subjects are left out in as many groups: the variance is then known to 5 %, and the cost does not grow.
MOST_GROUPS = 200


def left_out(subject_N: NDArray[Any] | Subjects, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Floats]:
    """Yield weights_JN in chunks: the very first row is the sample itself, then each leaves out a group of subjects.

    Up to 200 subjects each is a group of its own; more are dealt evenly, in an order that depends on their ids' order
    alone, so that the same subjects give the same groups for all models.
    """
    subjects = Subjects.of(subject_N)
    yield np.ones((1, len(subjects.place_N)))
    if subjects.count == 0:
        return
    group_N, groups = groups_of_samples(subjects)
    rows = max(1, chunk_bytes // (8 * len(group_N)))
    for first in range(0, groups, rows):
        yield (group_N != np.arange(first, min(first + rows, groups))[:, None]).astype(np.float64)


def groups_of_samples(subjects: Subjects) -> tuple[NDArray[np.intp], int]:
    """Return the group with which each sample is left out, and how many groups there are."""
    return groups_of(subjects.count)[subjects.place_N], min(subjects.count, MOST_GROUPS)


def groups_of(count: int) -> NDArray[np.intp]:
    """Return each subject's group: sizes differ by one at most; a fixed shuffle, for neighbouring ids may be alike."""
    group_S = np.arange(count) % MOST_GROUPS
    return group_S if count <= MOST_GROUPS else np.random.default_rng(0).permutation(group_S)
