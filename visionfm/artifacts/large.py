"""HDF5 artefacts larger than memory: written row by row into space that was reserved before, then sealed.

A full disk under an open HDF5 handle ends the process, so the library only lays the empty file out; its space is then
reserved by the file system, and the rows are written through a memory map. Read the same way, a row at a time.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.files import publish_file, temporary_for
from visionfm.errors import ArtifactError

CHUNK_BYTES = 1 << 24


class Layout(NamedTuple):
    """A large array of an artefact: all of it is written by whoever asked for it."""

    shape: tuple[int, ...]
    dtype: str


@contextmanager
def writing(
    path: str | Path,
    name: str,
    layout: Layout,
    small: Mapping[str, Any],
    made_by: artifacts.Provenance,
    *,
    schema: str,
    extra: Mapping[str, str],
) -> Iterator[npt.NDArray[Any]]:
    """Yield the large array `name` to be filled; publish the artefact when the block ends without an error.

    `small` are arrays and lists of str that stand beside it. DataError where the disk has no room for all of it.
    """
    import h5py

    path = Path(path)
    with temporary_for(path) as temporary:
        metadata = artifacts.unsealed_metadata(path, made_by, schema, artifacts.UNSEALED, extra)
        with h5py.File(temporary, "w") as file:
            _lay_out(file, name, layout, small, metadata)
            at = file[name].id.get_offset() if 0 not in layout.shape else None
        with temporary.open("r+b") as handle:
            size = os.fstat(handle.fileno()).st_size
            os.posix_fallocate(handle.fileno(), 0, size)
        rows = (
            np.zeros(layout.shape, layout.dtype)
            if at is None
            else np.memmap(temporary, layout.dtype, "r+", at, layout.shape)
        )
        yield rows
        if isinstance(rows, np.memmap):
            rows.flush()
        digest = _payload({**small, name: rows}, extra)
        with h5py.File(temporary, "r+") as file:
            file.attrs.modify("payload_sha256", np.bytes_(digest.encode()))
        artifacts.seal_file(temporary)
        publish_file(temporary, path)


def _lay_out(file: Any, name: str, layout: Layout, small: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    import h5py

    for other in sorted(small):
        value = small[other]
        if isinstance(value, list):
            file.create_dataset(other, data=np.array(value, dtype=object), dtype=h5py.string_dtype("utf-8"))
        else:
            file.create_dataset(other, data=value)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # no dates: equal content, equal bytes
    kind = h5py.h5t.py_create(np.dtype(layout.dtype))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(layout.shape), dcpl=properties)
    for key, text in sorted(metadata.items()):
        file.attrs[key] = np.bytes_(text.encode())


def _payload(arrays: Mapping[str, Any], extra: Mapping[str, str]) -> str:
    """Return what `artifact_formats.arrays_digest` does, without a copy of the large array in memory."""
    digest = hashlib.sha256(json.dumps(dict(extra), sort_keys=True).encode())
    for name in sorted(arrays):
        value = arrays[name]
        if isinstance(value, list):
            digest.update(f"\n{name}:str\n".encode() + json.dumps(value).encode())
            continue
        digest.update(f"\n{name}:{value.dtype}:{value.shape}\n".encode())
        flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
        for start in range(0, len(flat), CHUNK_BYTES):
            digest.update(flat[start : start + CHUNK_BYTES])
    return digest.hexdigest()


def mapped(path: str | Path, name: str) -> npt.NDArray[Any]:
    """Return a large array of a checked HDF5 artefact as a memory map; callers check the file first."""
    import h5py

    path = Path(path)
    with artifacts.understood(path), h5py.File(path, "r", locking=False) as file:
        dataset = file[name]
        shape, dtype, at = dataset.shape, dataset.dtype, dataset.id.get_offset()
        if at is not None and at + dataset.size * dtype.itemsize > path.stat().st_size:
            raise ValueError(f"{name} claims to hold more than the file does")
    if 0 in shape:
        return np.zeros(shape, dtype)
    if at is None:
        raise ArtifactError(
            f"{path.name}: {name} does not lie in one piece", where=path, do=f"`visionfm forget {path}`"
        )
    return np.memmap(path, dtype, "r", at, shape)
