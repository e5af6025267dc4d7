"""Masks and points in the tables: the columns that hold them, and the samples of dense tasks as they are read back.

All sizes and points here are those of the upright image, after its EXIF rotation; (0, 0) is the first pixel's centre.
"""

import hashlib
import threading
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
from visionfm.images.identity import file_id, file_path, frame_of
from visionfm.images.masks import Classes, Slice, as_classes, compose, read_fov, read_mask
from visionfm.images.reading import StoredFile
from visionfm.images.whole import read_whole

SCHEMA = "visionfm/samples/1"
MOST_OPEN = 4  # mask files of volumes, at once, for each thread
Point = tuple[float, float]
_opened = threading.local()


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
                (value, _checked(root, path, digest, f"{self.dataset}/{path}"), path)
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

    def _content(self, root: Path, role: str) -> bytes | Slice | None:
        path, mask_id = getattr(self, f"{role}_path"), getattr(self, f"{role}_id")
        return None if path is None else _checked(root, path, mask_id, self._where(role))


def _checked(root: Path, path: str, mask_id: str, where: str) -> bytes | Slice:
    """Return a mask's bytes; of the masks of a volume, whose file is read once for all of them, the one slice."""
    frame = frame_of(mask_id)
    if frame is None:
        return _checked_bytes(root / path, mask_id, where)
    files: dict[tuple[Path, str], StoredFile] = _opened.__dict__.setdefault("files", {})
    key = (root / file_path(path, mask_id), file_id(mask_id))
    if key not in files:
        while len(files) >= MOST_OPEN:
            del files[next(iter(files))]
        files[key] = StoredFile(_checked_bytes(*key, where), where)
    return Slice(files[key], frame)


def _checked_bytes(path: Path, digest: str, where: str) -> bytes:
    """Return the bytes of a mask's file, or folder; DataError where it is not the one that was labelled."""
    try:
        data = read_whole(path)
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
