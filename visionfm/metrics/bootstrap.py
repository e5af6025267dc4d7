"""The bootstrap over subjects.

Subjects are drawn with replacement and bring all their samples along: two eyes of one person are not independent.
Invariant: draws depend on the seed and the sorted subject ids alone, so that models and runs scored on the same
subjects are compared draw by draw.
Shape legend: D draws, N samples, S subjects.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from visionfm.metrics.weighted import Floats

LEVEL = 0.95
FEWEST_SUBJECTS = 5
MOST_UNDEFINED = 0.05
# Of one array of weights; the metrics hold about six of this size at once. Small, because it should stay in the cache.
CHUNK_BYTES = 2_000_000


def subject_draws(subjects_N: Sequence[str], draws: int, seed: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Floats]:
    """Yield weights_DN, how often each sample was drawn, in chunks of draws.

    The very first row is the sample itself, all ones; altogether there are `draws` + 1 rows. Memory is bounded by the
    chunk, however many draws there are.
    """
    subjects_S, subject_N = np.unique(np.asarray(subjects_N, dtype=np.str_), return_inverse=True)
    yield np.ones((1, len(subject_N)))
    count = len(subjects_S)
    if count == 0:
        return
    generator = np.random.default_rng([seed, *_numbers(subjects_S.tolist())])
    rows = max(1, chunk_bytes // (8 * len(subject_N)))
    for first in range(0, draws, rows):
        size = min(rows, draws - first)
        drawn_DS = generator.integers(0, count, size=(size, count))  # one stream, however it is cut into chunks
        drawn_DS += count * np.arange(size)[:, None]
        counts_DS = np.bincount(drawn_DS.ravel(), minlength=size * count).reshape(size, count)
        yield counts_DS.astype(np.float64)[:, subject_N]


def _numbers(subjects: Sequence[str]) -> list[int]:
    """Return the ids as eight 32-bit numbers; each id has its length before it, so that no two lists read the same."""
    digest = hashlib.sha256()
    for subject in subjects:
        encoded = subject.encode()
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return [int(number) for number in np.frombuffer(digest.digest(), dtype="<u4")]
