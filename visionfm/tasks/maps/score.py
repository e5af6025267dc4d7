"""From the metrics of each image to those of all: the mean over images, with its interval over subjects.

Of slices, those of one volume that have a mask are counted together, then the mean is over volumes. Shapes: N images,
V volumes, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.catalogue import METRICS
from visionfm.metrics.evidence import Mean
from visionfm.metrics.masks import volume_dice
from visionfm.metrics.measure import Measure
from visionfm.metrics.weighted import Floats
from visionfm.tasks.prediction_arrays import ALL, Samples
from visionfm.tasks.scored import Scored


@dataclass(frozen=True)
class Column:
    """One metric of each image: NaN where it does not exist; `present_N`: the truth has the class."""

    target: str
    label: str | None
    metric: str
    values_N: Floats
    point: str | None = None
    threshold: float | None = None
    present_N: NDArray[np.bool_] | None = None
    left_out: str = ""  # why an image may have no value, where the catalogue says it otherwise


@dataclass(frozen=True)
class VolumeColumn:
    """A metric of volumes, of the pixels of their slices: `counts_NC3` are those of classes, by `masks.COUNTS`.

    Of the images that are no slices `volume_N` is empty.
    """

    target: str
    label: str
    metric: str
    volume_N: NDArray[np.object_]
    counts_NC3: Floats

    @cached_property
    def place_N(self) -> NDArray[np.intp]:
        """Return a number for each image, equal for the slices of one volume, in the order of their names."""
        return np.unique(self.volume_N, return_inverse=True)[1]

    @cached_property
    def filled_N(self) -> NDArray[np.bool_]:
        """Return which images hold a pixel of the classes."""
        return np.asarray(self.counts_NC3.any(axis=(1, 2)))

    @cached_property
    def slices_V2(self) -> NDArray[np.intp]:
        """Return how many slices each of these has, and how many of them are filled."""
        return np.stack([np.bincount(self.place_N), np.bincount(self.place_N, self.filled_N).astype(np.intp)], axis=1)


def over_images(images: Any, columns: Sequence[Column], of_volumes: Sequence[VolumeColumn] = ()) -> dict[str, Scored]:
    """Return target -> what was measured of the images (a DataFrame of N rows with their ids)."""
    sample_N, subject_N, split_N, dataset_N, modality_N = (
        images[name].to_numpy(dtype=object) for name in ("sample_id", "subject_id", "split", "dataset", "modalities")
    )
    every_N = np.full(len(images), ALL, dtype=object)
    samples = Samples(sample_N, subject_N, split_N, dataset_N, modality_N, every_N)
    found, no_truth_N0 = {}, np.zeros((len(images), 0))
    for target in dict.fromkeys(column.target for column in columns):
        own = [column for column in columns if column.target == target]
        known_N = np.any([~np.isnan(column.values_N) for column in own], axis=0)
        volumes = [column for column in of_volumes if column.target == target]
        found[target] = Scored(samples, no_truth_N0, known_N, partial(_measures, own, volumes, samples))
    return found


def _measures(
    columns: Sequence[Column], of_volumes: Sequence[VolumeColumn], samples: Samples, rows_N: NDArray[np.intp]
) -> list[Measure]:
    """Return each column's mean over these images, then over their volumes."""
    subjects = samples.subjects.take(rows_N)
    found = []
    for column in columns:
        values_N = column.values_N[rows_N]
        known_N = ~np.isnan(values_N)
        present_N = None if column.present_N is None else column.present_N[rows_N]
        known = bool(known_N.any())
        found.append(
            Measure(
                column.label,
                column.metric,
                column.point,
                float(values_N[known_N].mean()) if known else float("nan"),
                Mean(values_N) if known else None,
                subjects,
                known_N,
                n_positive=None if present_N is None else int((present_N & known_N).sum()),
                threshold=column.threshold,
                reason=_reason(column, known_N),
            )
        )
    return found + [measure for column in of_volumes for measure in _of_volumes(column, samples, rows_N)]


def _of_volumes(column: VolumeColumn, samples: Samples, rows_N: NDArray[np.intp]) -> Iterator[Measure]:
    """Yield the mean over the volumes of these images; nothing where none is a slice.

    Where the images have some of the slices of a volume alone, as a group of slices may, there is no value.
    """
    rows_N = rows_N[column.volume_N[rows_N] != ""]
    if not len(rows_N):
        return
    volume_V, first_V, place_N = np.unique(column.place_N[rows_N], return_index=True, return_inverse=True)
    counts_VC3 = np.zeros((len(volume_V), *column.counts_NC3.shape[1:]))
    np.add.at(counts_VC3, place_N, column.counts_NC3[rows_N])
    slices_V, filled_V = column.slices_V2[volume_V].T
    parted_V = np.bincount(place_N, column.filled_N[rows_N]) < filled_V
    values_V = np.full(len(volume_V), np.nan) if parted_V.any() else volume_dice(counts_VC3)
    known_V = ~np.isnan(values_V)
    positive_V = known_V & (counts_VC3[:, 0, 0] > 0)
    behind = f"of {len(volume_V)} volumes {slices_V.sum()} slices have a mask"
    left_out = _left_out(known_V, "volumes", METRICS[column.metric].left_out)
    if parted_V.any():
        left_out = f"the slices of {parted_V.sum()} of {len(volume_V)} volumes are not all among these"
    yield Measure(
        column.label,
        column.metric,
        None,
        float(values_V[known_V].mean()) if known_V.any() else float("nan"),
        Mean(values_V) if known_V.any() else None,
        samples.subjects.take(rows_N[first_V]),
        known_V,
        n_positive=int(positive_V.sum()) if counts_VC3.shape[1] == 1 else None,
        reason="; ".join(filter(None, (left_out, behind))),
    )


def _reason(column: Column, known_N: NDArray[np.bool_]) -> str | None:
    """Return why there is no value, or of how many images the value is."""
    if not len(known_N):
        return "no image with a mask or point"
    return _left_out(known_N, "images", column.left_out or METRICS[column.metric].left_out)


def _left_out(known_N: NDArray[np.bool_], what: str, why: str) -> str | None:
    without = int((~known_N).sum())
    return f"{without} of {len(known_N)} {what} left out: {why}" if without else None
