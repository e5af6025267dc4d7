"""From the metrics of each image to those of all: the mean over images, its interval from a bootstrap over subjects.

Sets of masks are small: of two to four subjects the interval is Student's t over subjects, cut to what is possible.
Shapes: N images, M columns, D draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.bootstrap import few_subjects_interval, subject_draws
from visionfm.metrics.catalogue import METRICS
from visionfm.metrics.weighted import Floats
from visionfm.tasks.prediction_arrays import ALL, Answers, Part
from visionfm.tasks.settings import EvaluateSettings
from visionfm.tasks.vectors.score import Line

Key = tuple[str, Part, str | None, str, str | None]


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


def over_images(images: Any, columns: Sequence[Column], settings: EvaluateSettings) -> dict[Key, Line]:
    """Return the lines of each part of the images (a DataFrame of N rows with their ids)."""
    if not columns:
        return {}  # nothing is known of any image: there is nothing to measure
    where = {name: images[name].to_numpy(dtype=object) for name in ("subject_id", "split", "dataset", "modalities")}
    every = np.full(len(images), ALL, dtype=object)
    none_N0 = np.zeros((len(images), 0))
    answers = Answers(
        none_N0, none_N0, where["subject_id"], where["split"], where["dataset"], where["modalities"], every
    )
    return {
        (column.target, part, column.label, column.metric, column.point): line
        for part, rows_N in answers.parts(pooled=True)
        for column, line in zip(columns, _lines(columns, rows_N, where["subject_id"], settings), strict=True)
    }


def _lines(
    columns: Sequence[Column], rows_N: NDArray[np.intp], subjects: NDArray[Any], settings: EvaluateSettings
) -> Iterator[Line]:
    """Yield each column's mean over these images, for the sample itself and for each bootstrap draw."""
    subject_N = subjects[rows_N]
    values_NM = np.stack([column.values_N[rows_N] for column in columns], axis=1)
    known_NM = ~np.isnan(values_NM)
    filled_NM = np.where(known_NM, values_NM, 0.0)
    chunks = []
    for weights_DN in subject_draws(subject_N.tolist(), settings.draws, settings.seed):
        count_DM = weights_DN @ known_NM.astype(np.float64)
        total_DM = weights_DN @ filled_NM
        chunks.append(np.where(count_DM > 0, total_DM / np.maximum(count_DM, 1), np.nan))
    means_DM = np.concatenate(chunks)
    for m, column in enumerate(columns):
        known_N = known_NM[:, m]
        present_N = None if column.present_N is None else column.present_N[rows_N]
        yield Line(
            column.label,
            column.metric,
            column.point,
            means_DM[:, m],
            n=int(known_N.sum()),
            n_positive=None if present_N is None else int((present_N & known_N).sum()),
            subjects_S=np.unique(subject_N[known_N]),
            threshold=column.threshold,
            reason=_reason(column, known_N),
            bounds=_bounds(column, values_NM[known_N, m], subject_N[known_N].tolist()),
        )


def _bounds(column: Column, values_N: Floats, subjects_N: list[str]) -> tuple[float, float] | None:
    found = few_subjects_interval(values_N, subjects_N)
    highest = 1.0 if METRICS[column.metric].bounded else np.inf
    return None if found is None else (max(0.0, found[0]), min(highest, found[1]))


def _reason(column: Column, known_N: NDArray[np.bool_]) -> str | None:
    """Return why there is no value, or of how many images the value is."""
    if known_N.all() and len(known_N):
        return None
    if not len(known_N):
        return "no image with a mask or point"
    left_out = int((~known_N).sum())
    return f"{left_out} of {len(known_N)} images left out: {column.left_out or METRICS[column.metric].left_out}"
