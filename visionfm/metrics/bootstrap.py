"""The bootstrap over subjects and its intervals.

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


def interval(values_D: Floats, n_subjects: int) -> tuple[float, float] | str:
    """Return the 95 % percentile interval over the draws in which the metric exists, or why there is none."""
    if n_subjects < FEWEST_SUBJECTS:
        return f"no interval: at least {FEWEST_SUBJECTS} subjects are needed, found {n_subjects}"
    if len(values_D) == 0:
        return "no interval: no bootstrap draws were asked for"
    defined = values_D[~np.isnan(values_D)]
    undefined = 1 - len(defined) / len(values_D)
    if undefined > MOST_UNDEFINED:
        return f"no interval: the metric does not exist in {100 * undefined:.0f} % of the bootstrap draws"
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:  # 0 of 8, say: drawing again never shows the ninth, so this is no certainty
        return "no interval: nearly all bootstrap draws give the same value, which says nothing of its spread"
    return float(low), float(high)


def few_subjects_interval(values_N: Floats, subjects_N: Sequence[str]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean over images of two to four subjects that differ, else None; all are known.

    Student's t with S - 1 degrees of freedom on the variance between subjects (the linearised, "cluster-robust"
    variance of a ratio: Cochran, Sampling Techniques, 3rd ed., eq. 11.12). Resampling so few knows too little of their
    spread.
    """
    subjects_S, subject_N = np.unique(np.asarray(subjects_N, dtype=np.str_), return_inverse=True)
    count = len(subjects_S)
    if not 2 <= count < FEWEST_SUBJECTS:
        return None
    mean = float(values_N.mean())
    excess_S = np.bincount(subject_N, weights=values_N - mean)
    error = float(np.sqrt(count / (count - 1) * (excess_S**2).sum())) / len(values_N)
    if error == 0:  # says nothing of how far subjects differ
        return None
    from scipy.stats import t

    reach = float(t.ppf((1 + LEVEL) / 2, count - 1)) * error
    return mean - reach, mean + reach
