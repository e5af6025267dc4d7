"""Reads samples.parquet / train.parquet into arrays: ids, splits, labels, and which images belong to which sample.

Rows are put in order of sample_id, so that the order of rows on disk changes nothing.
Shapes: N samples, I images, T label columns (see targets), NaN where a label is unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.errors import ArtifactError, DataError, Problems
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.slots import Slot, slots

SCHEMA = "visionfm/samples/1"
IDS = ("sample_id", "subject_id", "dataset", "split")
INTERVAL, DAYS_BEFORE = "interval_days", "days_before"
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Samples:
    """The samples of a task, or a part of them."""

    ids: dict[str, npt.NDArray[Any]]  # sample_id, subject_id, dataset, split: (N,) str
    truth_NT: npt.NDArray[np.float64]
    sample_I: npt.NDArray[np.int64]  # row of the sample that an image belongs to, ascending
    modality_I: npt.NDArray[Any]  # str
    references: list[tuple[str, str, str]]  # (dataset, path, image_id), as FeatureStore.gather takes them
    interval_N: npt.NDArray[np.float64] | None = None  # progression: days to the event, or to the end of follow-up
    days_before_I: npt.NDArray[np.float64] | None = None  # progression of eyes: of an image, before the baseline

    def __len__(self) -> int:
        """Return N."""
        return len(self.truth_NT)

    def take(self, keep_N: Bools) -> "Samples":
        """Return the samples where `keep_N` is True, with their images."""
        keep_I = keep_N[self.sample_I]
        row_N = np.cumsum(keep_N) - 1
        return Samples(
            {name: values[keep_N] for name, values in self.ids.items()},
            self.truth_NT[keep_N],
            row_N[self.sample_I[keep_I]],
            self.modality_I[keep_I],
            [reference for reference, keep in zip(self.references, keep_I, strict=True) if keep],
            None if self.interval_N is None else self.interval_N[keep_N],
            None if self.days_before_I is None else self.days_before_I[keep_I],
        )

    def in_splits(self, splits: Sequence[str]) -> Bools:
        """Return keep_N: which samples stand in one of the splits."""
        return np.isin(self.ids["split"].astype(str), list(splits))


def check_some(count: int, splits: Sequence[str], where: Path | None) -> None:
    """Raise DataError where no sample of the splits is there to predict."""
    if not count:
        raise DataError(
            "there is no sample to predict",
            expected=f"samples of split {' or '.join(splits)}",
            found="none",
            where=where,
            do="give the datasets a test split, or name other splits",
        )


def read_samples(path: str | Path, targets: Mapping[str, TargetSpec], modalities: Sequence[str]) -> Samples:
    """Return the samples of a checked table.

    Raises ArtifactError for another schema or a missing target, DataError (all problems at once) for values that cannot
    be used.
    """
    table = artifacts.read_table(path, schema=SCHEMA)
    wanted = (*IDS, "images", *targets, *([INTERVAL] if any(t.type == "event" for t in targets.values()) else ()))
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise ArtifactError(
            f"{Path(path).name} does not fit the decoder's task",
            expected=f"columns {', '.join(wanted)}",
            found=f"no {', '.join(missing)}",
            where=path,
            do="run `visionfm fuse` for this task again",
        )
    table = table.sort_by("sample_id")
    problems = Problems(DataError, f"samples in {Path(path).name}")
    ids = {name: _strings(table.column(name)) for name in IDS}
    repeated = ids["sample_id"][1:][ids["sample_id"][1:] == ids["sample_id"][:-1]]
    for name in np.unique(repeated.astype(str)):
        problems.add(f"{name}: expected one row, found several")
    parts = [_labels(table.column(slot.name), slot, ids["sample_id"], problems) for slot in slots(targets)]
    interval_N = _numbers(table, INTERVAL)
    for at, slot in enumerate(slots(targets)):
        if slot.target.type == "event" and interval_N is not None:
            parts[at] = np.column_stack([parts[at], np.where(np.isnan(parts[at][:, 0]), np.nan, interval_N)])
    sample_I, images = _images(table.column("images"))
    for name in sorted(set(images["modality"]) - set(modalities)):
        first = ids["sample_id"][sample_I[np.flatnonzero(images["modality"] == name)[0]]]
        problems.add(f"{first}: modality {name}: expected one of {', '.join(modalities)}")
    without = np.setdiff1d(np.arange(len(table)), sample_I)
    for row in without:
        problems.add(f"{ids['sample_id'][row]}: expected at least one image, found none")
    problems.raise_if_any(do="correct the labels or the task's targets, then run `visionfm fuse`")
    references = list(zip(images["dataset"], images["path"], images["image_id"], strict=True))
    truth_NT = np.concatenate(parts, axis=1)
    days_before_I = None
    if DAYS_BEFORE in table.column_names:
        days_before_I = np.array(table.column(DAYS_BEFORE).combine_chunks().flatten().to_pylist(), dtype=np.float64)
    return Samples(ids, truth_NT, sample_I, images["modality"], references, interval_N, days_before_I)


def _numbers(table: Any, name: str) -> npt.NDArray[np.float64] | None:
    return np.array(table.column(name).to_pylist(), dtype=np.float64) if name in table.column_names else None


def _strings(column: Any) -> npt.NDArray[Any]:
    return np.array(column.to_pylist(), dtype=object)


def _images(column: Any) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]]:
    """Return the sample's row of each image, and the images' fields."""
    import pyarrow.compute as pc

    lists = column.combine_chunks()
    counts = np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    flat = lists.flatten()
    fields = {name: _strings(flat.field(name)) for name in ("modality", "dataset", "path", "image_id")}
    return np.repeat(np.arange(len(lists)), counts), fields


def _labels(column: Any, slot: Slot, sample_ids: npt.NDArray[Any], problems: Problems) -> npt.NDArray[np.float64]:
    """Return one target's labels (N, columns), NaN where null."""
    target = slot.target
    width = 1 if target.type == "event" else slot.labels.stop - slot.labels.start
    if target.type == "multilabel":
        rows = [row if row is not None else [None] * width for row in column.to_pylist()]
        for row, name in zip(rows, sample_ids, strict=True):
            if len(row) != width:
                problems.add(f"{name}: {slot.name}: expected {width} values, found {len(row)}")
        labels = np.array([row if len(row) == width else [None] * width for row in rows], dtype=np.float64)
    else:
        labels = np.array(column.to_pylist(), dtype=np.float64)
    labels = labels.reshape(-1, width)
    if target.type == "value":
        wrong = np.isinf(labels)
        expected = "a finite number"
    else:
        classes = len(target.classes) if target.type == "multiclass" else 2
        wrong = ~np.isnan(labels) & ~np.isin(labels, np.arange(classes))
        expected = f"a class index 0 to {classes - 1}"
    for row in np.flatnonzero(wrong.any(axis=1)):
        problems.add(f"{sample_ids[row]}: {slot.name}: expected {expected}, found {labels[row].tolist()}")
    return labels
