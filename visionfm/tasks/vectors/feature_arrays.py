"""From samples and feature caches to the arrays a decoder eats, and their standardisation.

Each feature is gathered once, before the first epoch. A stream is one modality (`pooled`: one stream for the images of
all). Of several images of one modality in a sample, slices of a volume say, the mean or the maximum is taken, or the
decoder gets them all. Invariant: no NaN and no infinity passes.
Shapes: N samples, S streams, R rows of a stream, V views (the first is identity), F features.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.errors import ArtifactError, DataError
from visionfm.features.cache import FeatureStore
from visionfm.tasks.samples import Samples

POOLED = "image"
ATTENTION = "attention"  # of slices: the decoder pools them
VISITS = "visits"  # fusion of an eye's modalities at its baseline and at visits before it
CONSTANT_STD = 1e-6
PIECE = 256  # rows that are copied at once
Floats = npt.NDArray[np.float32]
Statistics = dict[str, tuple[Floats, Floats]]  # modality -> mean_F, std_F


@dataclass(frozen=True)
class Stream:
    """The features of one stream, float32 or as stored; `row_N` is a sample's row, -1 where the sample lacks it.

    With `count_N` it is the first of so many rows, one for each image. Streams of some of the samples share the rows of
    all.
    """

    name: str
    features_RVF: npt.NDArray[Any]
    modality_R: npt.NDArray[Any]
    row_N: npt.NDArray[np.int64]
    count_N: npt.NDArray[np.int64] | None = None

    @property
    def used_R(self) -> npt.NDArray[np.intp]:
        """Return which rows its samples have, in their order."""
        first_P = self.row_N[self.row_N >= 0]
        if self.count_N is None:
            return first_P
        count_P = self.count_N[self.row_N >= 0]
        before_P = np.cumsum(count_P) - count_P
        return np.repeat(first_P - before_P, count_P) + np.arange(count_P.sum())

    def of(self, keep_N: npt.NDArray[np.bool_]) -> "Stream":
        """Return it for some of the samples."""
        count_N = None if self.count_N is None else self.count_N[keep_N]
        return replace(self, row_N=self.row_N[keep_N], count_N=count_N)


def gather(
    samples: Samples,
    store: FeatureStore,
    modalities: Sequence[str],
    fusion: str,
    features: str,
    views: Sequence[str],
    visits: int = 1,
    slices: str = "mean",
) -> list[Stream]:
    """Return the streams of the samples, of the store's dtype; with `visits` those of each visit, the baseline's first.

    `slices` is what becomes of a sample's images of one modality: their mean, their maximum, or all (attention).

    Raises DataError where a value is not finite (naming the image), a pooled sample has not exactly one image, or
    pooled modalities have features of different widths; ArtifactError where a cache lacks an image.
    """
    if fusion == "pooled":
        return [_pooled(samples, store, features, views)]
    visit_I = visit_of_images(samples) if fusion == VISITS else np.zeros(len(samples.references), np.int64)
    return [
        _modality(
            name,
            np.flatnonzero((samples.modality_I == name) & (visit_I == visit)),
            samples,
            store,
            features,
            views,
            slices,
        )
        for visit in range(visits)
        for name in modalities
    ]


def visit_of_images(samples: Samples) -> npt.NDArray[np.int64]:
    """Return visit_I: 0 for an image of its sample's baseline, 1 for the visit before it, and so on."""
    days_I = samples.days_before_I
    if days_I is None:
        raise ArtifactError(
            "the samples do not say how long before the baseline each image was taken",
            expected="the column days_before",
            do="run `visionfm fuse` for this task again",
        )
    visits = sorted(set(zip(samples.sample_I.tolist(), days_I.tolist(), strict=True)))
    rank: dict[tuple[int, float], int] = {}
    for at, (sample, days) in enumerate(visits):
        follows = at > 0 and visits[at - 1][0] == sample
        rank[sample, days] = rank[visits[at - 1]] + 1 if follows else 0
    pairs = zip(samples.sample_I.tolist(), days_I.tolist(), strict=True)
    return np.array([rank[pair] for pair in pairs], dtype=np.int64)


def times(samples: Samples, fusion: str, head: str, modalities: int, visits: int) -> npt.NDArray[np.float32] | None:
    """Return what a decoder is told beside features: `ForecastHead` the interval (N, 1), visits their days (N, S).

    None for all others; never both, so that a survival head cannot see the time it predicts.
    """
    if head == "ForecastHead":
        if samples.interval_N is None or np.isnan(samples.interval_N).any():
            raise ArtifactError(
                "the samples do not say for which interval progression is asked",
                expected="the column interval_days, known for all",
                do="run `visionfm fuse` for a task of kind progression with head published",
            )
        return samples.interval_N.astype(np.float32)[:, None]
    if fusion != VISITS:
        return None
    assert samples.days_before_I is not None
    visit_I, days_NV = visit_of_images(samples), np.zeros((len(samples), visits), np.float32)
    kept = visit_I < visits
    days_NV[samples.sample_I[kept], visit_I[kept]] = samples.days_before_I[kept]
    return np.repeat(days_NV, modalities, axis=1)


def _pooled(samples: Samples, store: FeatureStore, features: str, views: Sequence[str]) -> Stream:
    count_N = np.bincount(samples.sample_I, minlength=len(samples))
    if (count_N != 1).any():
        row = int(np.flatnonzero(count_N != 1)[0])
        raise DataError(
            "a pooled task has samples that are not one image",
            expected="one image per sample",
            found=f"{count_N[row]} in {samples.ids['sample_id'][row]}",
            do="set `unit: image`, or a `fusion` that joins images: concat, mean, attention",
        )
    features_NVF = store.gather(samples.references, features, views)
    _check_finite(features_NVF, samples, np.arange(len(samples.references)))
    return Stream(POOLED, features_NVF, samples.modality_I, np.arange(len(samples)))


def _modality(
    name: str,
    at: npt.NDArray[np.intp],
    samples: Samples,
    store: FeatureStore,
    features: str,
    views: Sequence[str],
    slices: str,
) -> Stream:
    row_N = np.full(len(samples), -1)
    count_N = np.zeros(len(samples), np.int64) if slices == ATTENTION else None
    if not len(at):
        return Stream(name, np.zeros((0, len(views), 0), np.float32), np.array([], object), row_N, count_N)
    features_IVF = store.gather([samples.references[i] for i in at], features, views)
    _check_finite(features_IVF, samples, at)
    present, first = np.unique(samples.sample_I[at], return_index=True)
    count_P = np.diff(first, append=len(at))
    if count_N is not None:
        row_N[present], count_N[present] = first, count_P
        return Stream(name, features_IVF, np.full(len(at), name, object), row_N, count_N)
    if len(present) < len(at) and slices == "max":
        features_IVF = np.maximum.reduceat(features_IVF, first, axis=0)
    elif len(present) < len(at):
        count = count_P.astype(np.float32)
        total_PVF = np.add.reduceat(features_IVF.astype(np.float32, copy=False), first, axis=0)
        features_IVF = (total_PVF / count[:, None, None]).astype(np.float32)
    row_N[present] = np.arange(len(present))
    return Stream(name, features_IVF, np.full(len(present), name, object), row_N)


def _check_finite(features_IVF: npt.NDArray[Any], samples: Samples, at: npt.NDArray[np.int64]) -> None:
    for row in range(len(features_IVF)):
        if not np.isfinite(features_IVF[row]).all():
            dataset, path, image_id = samples.references[at[row]]
            raise DataError(
                "a feature is not a finite number",
                expected="finite features",
                found=f"NaN or infinity in {dataset}: {path} (image {image_id[:12]})",
                where=f"sample {samples.ids['sample_id'][samples.sample_I[at[row]]]}",
                do="check the encoder's weights and precision, then `visionfm forget` that cache and extract again",
            )


def digest(streams: Sequence[Stream]) -> str:
    """Return the sha256 of the features and of whose they are.

    It stands in a decoder's key in place of the caches' digests: rows that others added to a cache change nothing.
    """
    found = hashlib.sha256()
    for stream in streams:
        found.update(f"\n{stream.name}:{stream.features_RVF.shape}\n".encode())
        for rows in _pieces(np.arange(len(stream.features_RVF))):
            found.update(np.ascontiguousarray(stream.features_RVF[rows], np.float32).reshape(-1).view(np.uint8).data)
        found.update(stream.row_N.astype("<i8").tobytes())
        if stream.count_N is not None:
            found.update(stream.count_N.astype("<i8").tobytes())
    return found.hexdigest()


# --- standardisation ------------------------------------------------------------------------------------------------


def statistics(streams: Sequence[Stream], identity: bool = False, scale: float = 1.0) -> Statistics:
    """Return mean_F and std_F of each modality's used rows, over all views; a feature that never changes has std 1.

    `identity` returns mean 0 and std 1; features standardised by what is returned have a deviation of `scale`.
    Raises DataError where no feature of several different rows changes at all.
    """
    found: Statistics = {}
    for stream in streams:
        used_R = stream.used_R
        for name in dict.fromkeys(stream.modality_R[used_R]):
            at_R = used_R[stream.modality_R[used_R] == name]
            mean_F, std_F = _moments(stream.features_RVF, at_R)
            constant_F = std_F <= CONSTANT_STD * (1 + np.abs(mean_F))
            if constant_F.all() and len(at_R) > 1:
                raise DataError(
                    f"the features of all {name} training images are equal",
                    expected="features that differ between images",
                    found=f"{len(at_R)} rows without any difference",
                    do="look at the images and at the encoder's weights",
                )
            std_F = np.where(constant_F, 1, std_F) / scale
            mean_F, std_F = (mean_F * 0, std_F * 0 + 1) if identity else (mean_F, std_F)
            found[name] = (mean_F.astype(np.float32), std_F.astype(np.float32))
    return found


def _moments(
    features_RVF: npt.NDArray[Any], at_R: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean_F and std_F of some rows, in float64; bit for bit those of all at once, which would be copied twice.

    numpy adds up rows one after the other, so a sum goes on where that of the rows before has ended.
    """
    views, width = features_RVF.shape[1:]
    count = len(at_R) * views
    mean_F = _sum_over(features_RVF, at_R, lambda rows_RVF: rows_RVF.astype(np.float64)) / count
    variance_F = _sum_over(features_RVF, at_R, lambda rows_RVF: np.square(rows_RVF - mean_F)) / count
    return mean_F, np.sqrt(variance_F)


def _sum_over(
    features_RVF: npt.NDArray[Any], at_R: npt.NDArray[np.intp], of: Callable[[Any], npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    total_1F = np.zeros((1, features_RVF.shape[2]))
    for number, rows in enumerate(_pieces(at_R)):
        terms_NF = of(features_RVF[rows]).reshape(-1, features_RVF.shape[2])
        before = [total_1F] if number else []
        total_1F = np.add.reduce(np.concatenate([*before, terms_NF]), axis=0, keepdims=True)
    total_F: npt.NDArray[np.float64] = total_1F[0]
    return total_F


def _pieces(at_R: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(at_R), PIECE):
        yield at_R[start : start + PIECE]


def standardise(streams: Sequence[Stream], known: Statistics) -> None:
    """Bring the features, in place, to mean 0 and standard deviation 1 of the training rows of their modality."""
    for stream in streams:
        for name, (mean_F, std_F) in _own(stream, known).items():
            for rows in _pieces(np.flatnonzero(stream.modality_R == name)):
                stream.features_RVF[rows] = (stream.features_RVF[rows] - mean_F) / std_F


class Scaling(NamedTuple):
    """What `standardise` does to a stream, for whoever does it to a few rows at a time."""

    mean_MF: Floats
    std_MF: Floats
    code_R: npt.NDArray[np.int64]  # of each row's modality


def scaling(stream: Stream, known: Statistics) -> Scaling:
    """Return how a stream's rows are standardised; DataError as `standardise`."""
    own = _own(stream, known)
    width = stream.features_RVF.shape[2]
    code_R = np.zeros(len(stream.modality_R), np.int64)
    for code, name in enumerate(own):
        code_R[stream.modality_R == name] = code
    mean_MF, std_MF = (np.array(rows, np.float32).reshape(-1, width) for rows in zip(*own.values(), strict=True))
    return Scaling(mean_MF, std_MF, code_R)


def _own(stream: Stream, known: Statistics) -> Statistics:
    """Return the statistics of the stream's modalities; DataError where they are not known, or of another width."""
    for name in dict.fromkeys(stream.modality_R):
        if name not in known:
            raise DataError(
                f"the decoder has seen no {name} image in training",
                expected=f"one of {', '.join(known)}",
                found=name,
                do="train with images of that modality, or leave its dataset out of the task",
            )
        if len(known[name][0]) != stream.features_RVF.shape[2]:
            raise DataError(
                f"the features of {name} do not fit the decoder",
                expected=f"{len(known[name][0])} a view",
                found=str(stream.features_RVF.shape[2]),
                do="give the caches of the encoder that the decoder was trained with",
            )
    return {name: known[name] for name in dict.fromkeys(stream.modality_R)}
