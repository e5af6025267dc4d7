"""From the metrics of each image to those of all: the mean over images, with its interval over subjects.

Shapes: N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.catalogue import METRICS
from visionfm.metrics.evidence import Mean
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


def over_images(images: Any, columns: Sequence[Column]) -> dict[str, Scored]:
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
        found[target] = Scored(samples, no_truth_N0, known_N, partial(_measures, own, samples))
    return found


def _measures(columns: Sequence[Column], samples: Samples, rows_N: NDArray[np.intp]) -> list[Measure]:
    """Return each column's mean over these images."""
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
    return found


def _reason(column: Column, known_N: NDArray[np.bool_]) -> str | None:
    """Return why there is no value, or of how many images the value is."""
    if known_N.all() and len(known_N):
        return None
    if not len(known_N):
        return "no image with a mask or point"
    left_out = int((~known_N).sum())
    return f"{left_out} of {len(known_N)} images left out: {column.left_out or METRICS[column.metric].left_out}"
