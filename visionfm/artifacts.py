"""Artefacts: the only writer of results, and their provenance, checksums and kept copies.

Every artefact (Parquet, HDF5, safetensors, JSON, HTML, SVG) carries in its own metadata: schema, stage, version, key, the payload digests
of its inputs, seed, `payload_sha256` (what it says) and `file_sha256` (the whole file, hashed with this field zeroed).
Invariant: a file below `results/` is absent or complete; readers check it before they believe it.
"""

import errno
import hashlib
import json
import logging
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionfm import artifact_formats as formats
from visionfm.errors import ArtifactError, DataError
from visionfm.versions import VERSIONS

RESULTS, KEPT = "results", ".kept"
UNSEALED = "0" * 64
log = logging.getLogger("visionfm")


@dataclass(frozen=True)
class Provenance:
    """What an artefact was made from; its `key` decides whether a kept one can stand in for a new computation."""

    stage: str
    version: int
    key: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None


def provenance(
    stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str], seed: int | None = None
) -> Provenance:
    """Return the provenance of a stage's output: settings are its slice of the config, inputs name -> payload digest."""
    version = VERSIONS[stage]
    identity = json.dumps([stage, version, settings, inputs], sort_keys=True, ensure_ascii=True)
    return Provenance(stage, version, hashlib.sha256(identity.encode()).hexdigest(), dict(inputs), seed)


# --- publishing -----------------------------------------------------------------------------------------------------


def kept_path(path: str | Path) -> Path | None:
    """Return where the hard link of an artefact is kept: `results/.kept/<same path>`; None outside a results folder."""
    absolute = Path(os.path.abspath(path))
    for parent in absolute.parents:
        if parent.name == RESULTS:
            return parent / KEPT / absolute.relative_to(parent)
    return None


def publish(path: str | Path, data: bytes | bytearray | memoryview) -> None:
    """Write `data` to `path` so that at any moment the old file or the whole new one is there; keep a hard link.

    A full disk raises DataError and leaves the old file whole.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_space(path.parent, len(data))
        with temporary.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        kept = kept_path(path)
        if kept is not None:
            _link(temporary, kept)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        _explain(error, path, len(data))
    finally:
        temporary.unlink(missing_ok=True)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{free} bytes free")


def _explain(error: OSError, path: Path, needed: int) -> None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise DataError(
            "the disk is full",
            expected=f"{needed / 1e6:.1f} MB free",
            found=f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB",
            where=path,
            do="free space and run the same command again; nothing was lost",
        ) from error
    raise DataError(
        f"{path.name} cannot be written: {error.strerror}", where=path, do="make the folder writable"
    ) from error


def _link(source: Path, target: Path) -> None:
    """Put a hard link (a copy where links are impossible) of `source` at `target`, replacing what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recall(path: str | Path, made_by: Provenance) -> bool:
    """Bring back the kept artefact at `path` if it has this key and is undamaged; say so in the log.

    Snakemake deletes a job's outputs before it reruns the job: this is what makes the rerun of an unchanged stage free.
    """
    path = Path(path)
    for candidate in (kept_path(path), path):
        if candidate is None or not candidate.is_file():
            continue
        try:
            metadata = read_metadata(candidate)
        except ArtifactError as error:
            log.warning("%s is damaged and will be made again: %s", candidate, error.problem)
            continue
        if metadata.get("key") != made_by.key:
            continue
        if not (path.exists() and path.samefile(candidate)):
            _link(candidate, path)
        os.utime(path)
        log.info("unchanged: %s", path)
        return True
    return False


# --- writing each format --------------------------------------------------------------------------------------------


def _metadata(made_by: Provenance, schema: str, payload_sha256: str, extra: Mapping[str, str]) -> dict[str, str]:
    metadata = {
        "schema": schema,
        "stage": made_by.stage,
        "version": str(made_by.version),
        "key": made_by.key,
        "inputs": json.dumps(made_by.inputs, sort_keys=True),
        "seed": json.dumps(made_by.seed),
        "payload_sha256": payload_sha256,
    }
    if taken := metadata.keys() & extra.keys():
        raise ValueError(f"metadata names taken by the provenance: {sorted(taken)}")
    return dict(sorted({**metadata, **extra, "file_sha256": UNSEALED}.items()))


def _publish_sealed(path: str | Path, data: bytes | bytearray) -> None:
    """Publish with `file_sha256` filled in: the digest of all bytes while the field itself is zeros."""
    if data.count(UNSEALED.encode()) != 1:
        raise ValueError(f"{path}: the checksum field must occur once, found {data.count(UNSEALED.encode())}")
    sealed = bytearray(data)
    at = sealed.find(UNSEALED.encode())
    sealed[at : at + len(UNSEALED)] = hashlib.sha256(data).hexdigest().encode()
    publish(path, sealed)


def write_table(
    path: str | Path,
    table: Any,
    made_by: Provenance,
    *,
    schema: str,
    extra: Mapping[str, str] | None = None,
    not_payload: tuple[str, ...] = (),
) -> None:
    """Publish a `pyarrow.Table` as Parquet; columns in `not_payload` (file dates) stay out of the payload digest."""
    extra = extra or {}
    payload = formats.table_digest(table, not_payload, extra)
    _publish_sealed(path, formats.table_bytes(table, _metadata(made_by, schema, payload, extra)))


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Any],
    made_by: Provenance,
    *,
    schema: str,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Publish numpy arrays as safetensors with a sorted header, so that equal tensors give equal bytes."""
    extra = extra or {}
    payload = formats.arrays_digest(tensors, extra)
    _publish_sealed(path, formats.tensors_bytes(tensors, _metadata(made_by, schema, payload, extra)))


def write_hdf5(
    path: str | Path,
    arrays: Mapping[str, Any],
    made_by: Provenance,
    *,
    schema: str,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Publish arrays (lists of str allowed) as HDF5, built in memory: a full disk under an open handle kills the process."""
    extra = extra or {}
    payload = formats.arrays_digest(arrays, extra)
    _publish_sealed(path, formats.hdf5_bytes(arrays, _metadata(made_by, schema, payload, extra)))


def write_text(
    path: str | Path, text: str, made_by: Provenance, *, schema: str, extra: Mapping[str, str] | None = None
) -> None:
    """Publish an HTML or SVG page with its metadata in a trailing comment."""
    extra = extra or {}
    payload = hashlib.sha256(text.encode()).hexdigest()
    _publish_sealed(path, formats.text_bytes(text, _metadata(made_by, schema, payload, extra)))


def write_json(path: str | Path, content: Mapping[str, Any], made_by: Provenance, *, schema: str) -> None:
    """Publish a small JSON object, its metadata under `visionfm`."""
    payload = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    _publish_sealed(path, formats.json_bytes(content, _metadata(made_by, schema, payload, {})))


# --- reading --------------------------------------------------------------------------------------------------------


def read_metadata(path: str | Path, verify: bool = True) -> dict[str, str]:
    """Return an artefact's metadata, after checking that no byte of the file changed since it was written."""
    path = Path(path)
    metadata = _reading(path, formats.read_metadata)
    sealed = metadata.get("file_sha256", "")
    if len(sealed) != len(UNSEALED):
        raise _damaged(path, "it is not an artefact of visionfm (no checksum in its metadata)")
    if verify and sealed != _unsealed_digest(path, sealed):
        raise _damaged(path, "its bytes do not match its checksum")
    return metadata


def payload_digest(path: str | Path) -> str:
    """Return the digest of what a (checked) artefact says, apart from how it came to be."""
    return read_metadata(path)["payload_sha256"]


def read_table(path: str | Path) -> Any:
    """Return a checked Parquet artefact as `pyarrow.Table`; its schema's metadata is the artefact's."""
    read_metadata(path)
    return _reading(Path(path), formats.read_table)


def read_tensors(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the numpy arrays and the metadata of a checked safetensors artefact."""
    metadata = read_metadata(path)
    return _reading(Path(path), formats.read_tensors), metadata


def read_hdf5(path: str | Path, names: tuple[str, ...] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays (all, or those named; text as object arrays of str) and the metadata of a checked HDF5 artefact."""
    metadata = read_metadata(path)
    return _reading(Path(path), lambda checked: formats.read_hdf5(checked, names)), metadata


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the content of a checked JSON artefact, without its metadata."""
    read_metadata(path)
    content: dict[str, Any] = json.loads(Path(path).read_text())
    del content["visionfm"]
    return content


def _reading(path: Path, read: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        raise ArtifactError("an artefact is missing", where=path, do="run the stage that writes it")
    try:
        return read(path)
    except formats.UNREADABLE as error:
        raise _damaged(path, f"it cannot be read: {error}") from error


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path.name} is damaged: {why}",
        expected="the file as it was written",
        where=path,
        do=f"`visionfm forget {path}`, then run again",
    )


def _unsealed_digest(path: Path, sealed: str) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as view:
        at = view.rfind(sealed.encode()) if path.suffix != ".safetensors" else view.find(sealed.encode())
        if at < 0:
            return ""
        with memoryview(view) as content:
            digest.update(content[:at])
            digest.update(UNSEALED.encode())
            digest.update(content[at + len(sealed) :])
    return digest.hexdigest()
