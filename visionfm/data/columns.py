"""Masks and points in the tables: the columns that hold them, and the samples of dense tasks as they are read back.

All sizes and points here are those of the upright image, after its EXIF rotation; (0, 0) is the first pixel's centre.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.data.block import DENSE_COLUMNS
from visionfm.data.layouts.rows import parts_of
from visionfm.errors import ArtifactError, DataError, cannot_read_now, is_passing
from visionfm.images.masks import Classes, as_classes, compose, read_fov, read_mask
from visionfm.images.regular import read_regular

SCHEMA = "visionfm/samples/1"
Point = tuple[float, float]


def column_type(name: str, points: Sequence[str]) -> Any:
    """Return the Arrow type of one of DENSE_COLUMNS; `points` are the names of the points."""
    import pyarrow as pa

    if name == "points":
        return pa.struct([(point, pa.list_(pa.float64())) for point in points])
    if name in ("mask_values", "mask2_values"):
        return pa.list_(pa.int64())
    if name in ("width", "height", "orientation"):
        return pa.int32()
    return pa.list_(pa.float64()) if name == "mm_per_px" else pa.string()


@dataclass(frozen=True)
class DenseSample:
    """One image of a dense task with what is known of it; paths are relative to its dataset's root."""

    sample_id: str
    subject_id: str
    dataset: str
    split: str
    modality: str
    path: str
    image_id: str
    width: int
    height: int
    orientation: int
    mask_path: str | None = None
    mask_id: str | None = None
    mask2_path: str | None = None
    mask2_id: str | None = None
    fov_path: str | None = None
    fov_id: str | None = None
    points: Mapping[str, Point | None] = field(default_factory=dict)
    mm_per_px: Point | None = None  # across, down

    def mask(self, root: Path, values: Sequence[Sequence[int]], role: str = "mask") -> Classes | None:
        """Return the class indices (H, W) of its mask (or `mask2`), None where it has none."""
        parts = parts_of(getattr(self, f"{role}_path"))
        if parts is not None:
            digests = [digest for _, digest in parts_of(getattr(self, f"{role}_id")) or ()]
            files = [
                (value, checked_bytes(root / path, digest, f"{self.dataset}/{path}"), path)
                for (value, path), digest in zip(parts, digests, strict=True)
            ]
            values_HW = compose(files, (self.height, self.width), self.orientation)
            return as_classes(values_HW, values, self._where(role))
        data = self._content(root, role)
        return None if data is None else read_mask(data, values, orientation=self.orientation, where=self._where(role))

    def fov(self, root: Path) -> npt.NDArray[np.bool_] | None:
        """Return where its field of view is (H, W), None where that is not given."""
        data = self._content(root, "fov")
        return None if data is None else read_fov(data, orientation=self.orientation, where=self._where("fov"))

    def _where(self, role: str) -> str:
        return f"{self.dataset}/{getattr(self, f'{role}_path')}"

    def _content(self, root: Path, role: str) -> bytes | None:
        path, digest = getattr(self, f"{role}_path"), getattr(self, f"{role}_id")
        return None if path is None else checked_bytes(root / path, digest, self._where(role))


def checked_bytes(path: Path, digest: str | None, where: str) -> bytes:
    """Return a mask file's bytes; DataError where it is not the file that was labelled."""
    import hashlib

    try:
        data = read_regular(path)
    except OSError as error:
        if is_passing(error):
            raise cannot_read_now(path, error) from error
        raise DataError("a mask cannot be read", found=error.strerror, where=where, do="restore the file") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DataError(
            "a mask changed while the pipeline ran",
            expected=f"sha256 {digest}",
            found="other bytes",
            where=where,
            do="run the pipeline again: it reads the masks anew",
        )
    return data


def read_dense_samples(path: str | Path) -> list[DenseSample]:
    """Return the samples of a dense task from samples.parquet or train.parquet, in order of sample_id."""
    table = artifacts.read_table(path, schema=SCHEMA)
    missing = [name for name in DENSE_COLUMNS if name not in table.column_names]
    if missing:
        raise ArtifactError(
            f"{Path(path).name} holds no samples of a dense task",
            expected=f"columns {', '.join(DENSE_COLUMNS)}",
            found=f"no {', '.join(missing)}",
            where=path,
            do="run `visionfm fuse` for this task again",
        )
    return [_sample(row) for row in table.sort_by("sample_id").to_pylist()]


def _sample(row: Mapping[str, Any]) -> DenseSample:
    (image,) = row["images"]
    points = {name: None if at is None else (at[0], at[1]) for name, at in (row["points"] or {}).items()}
    same = ("sample_id", "subject_id", "dataset", "split", "width", "height", "orientation", "mm_per_px")
    files = [f"{role}_{what}" for role in ("mask", "mask2", "fov") for what in ("path", "id")]
    return DenseSample(
        **{name: row[name] for name in (*same, *files)},
        **{name: image[name] for name in ("modality", "path", "image_id")},
        points=points,
    )
