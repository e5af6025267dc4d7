"""Artefacts: the only writer of results, and their provenance, checksums and kept copies.

Every artefact (Parquet, HDF5, safetensors, ZIP, JSON, HTML, Markdown) carries in its own metadata: schema, stage,
version, key, the payload digests of its inputs, seed, `payload_sha256` (what it says) and `file_sha256` (the whole
file, hashed with this field zeroed).
Invariant: a file below `results/` is absent or complete; readers check it before they believe it.
"""

import errno
import hashlib
import json
import logging
import mmap
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from visionfm.artifacts import formats, tree
from visionfm.artifacts.files import keep, kept_path, publish, put_back
from visionfm.artifacts.versions import VERSIONS
from visionfm.errors import ArtifactError, cannot_read_now

SAID = ("schema", "stage", "version", "key", "inputs", "seed", "payload_sha256")  # by every artefact, of itself
SEAL, UNSEALED = "file_sha256", "0" * 64
SEAL_WITHIN = 200  # bytes between the field's name and its value, in any format
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
    """Return the provenance of a stage's output: `settings` its slice of the config, `inputs` the payload digests."""
    version = VERSIONS[stage]
    identity = json.dumps([stage, version, settings, inputs], sort_keys=True, ensure_ascii=True)
    return Provenance(stage, version, hashlib.sha256(identity.encode()).hexdigest(), dict(inputs), seed)


def recall(path: str | Path, made_by: Provenance) -> bool:
    """Bring back the kept artefact at `path` if it has this key and is undamaged; say so in the log.

    CannotReadNow where the system does not give one that may be whole: it is not computed again for that.

    Snakemake deletes a job's outputs before it reruns the job: this is what makes the rerun of an unchanged stage free.
    """
    path = Path(path)
    kept = kept_path(path)
    for candidate in (kept, path):
        if candidate is None or not candidate.is_file():
            continue
        try:
            metadata = sealed_metadata(candidate)
        except ArtifactError as error:
            log.warning("%s is damaged and will be made again: %s", candidate, error.problem)
            continue
        if metadata.get("key") != made_by.key:
            continue
        put_back(candidate, path)
        if kept is not None and candidate is path:
            keep(path)  # whose kept copy is gone, damaged or of another time
        log.info("unchanged: %s", path)
        return True
    return False


# --- writing each format --------------------------------------------------------------------------------------------


def unsealed_metadata(
    path: str | Path, made_by: Provenance, schema: str, payload_sha256: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return all metadata of an artefact to be written to `path`, `file_sha256` still zeros."""
    metadata = {
        "schema": schema,
        "stage": made_by.stage,
        "version": str(made_by.version),
        "key": made_by.key,
        "inputs": json.dumps(made_by.inputs, sort_keys=True),
        "seed": json.dumps(made_by.seed),
        "payload_sha256": payload_sha256,
        **tree.owner(path),
    }
    if taken := metadata.keys() & extra.keys():
        raise ValueError(f"metadata names taken by the provenance: {sorted(taken)}")
    return dict(sorted({**metadata, **extra, SEAL: UNSEALED}.items()))


def _publish_sealed(path: str | Path, data: bytes | bytearray) -> None:
    """Publish with `file_sha256` filled in: the digest of all bytes while the field itself is zeros."""
    at = next(place for place, value in _seals(data) if value == UNSEALED.encode())
    whole = memoryview(data)  # a file may be a large part of the memory: no copy of it
    publish(path, whole[:at], hashlib.sha256(data).hexdigest().encode(), whole[at + len(UNSEALED) :])


def seal_file(path: Path) -> None:
    """Fill in `file_sha256` of a file that was written with zeros there."""
    with path.open("r+b") as handle, mmap.mmap(handle.fileno(), 0) as view:
        at = next(place for place, value in _seals(view) if value == UNSEALED.encode())
        view[at : at + len(UNSEALED)] = hashlib.sha256(view).hexdigest().encode()
        view.flush()


def _seals(data: bytes | bytearray | mmap.mmap) -> Iterator[tuple[int, bytes]]:
    """Yield place and value of what may be the field `file_sha256`; a page may show such fields of other artefacts."""
    at = data.find(SEAL.encode())
    while at >= 0:
        if found := re.compile(rb"[0-9a-f]{64}").search(data, at, at + SEAL_WITHIN):
            yield found.start(), found.group()
        at = data.find(SEAL.encode(), at + 1)


def table_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Any:
    """Return rows as a `pyarrow.Table`; `columns` are their names and Arrow's names of types, in order."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    return pa.Table.from_pylist(rows, schema=schema)


def write_table(
    path: str | Path,
    table: Any,
    made_by: Provenance,
    *,
    schema: str,
    extra: Mapping[str, str] | None = None,
    not_payload: tuple[str, ...] = (),
) -> None:
    """Publish a `pyarrow.Table` as Parquet; columns and metadata in `not_payload` stay out of the payload digest."""
    extra = extra or {}
    said = {name: text for name, text in extra.items() if name not in not_payload}
    payload = formats.table_digest(table, not_payload, said)
    _publish_sealed(path, formats.table_bytes(table, unsealed_metadata(path, made_by, schema, payload, extra)))


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
    _publish_sealed(path, formats.tensors_bytes(tensors, unsealed_metadata(path, made_by, schema, payload, extra)))


def write_hdf5(
    path: str | Path,
    arrays: Mapping[str, Any],
    made_by: Provenance,
    *,
    schema: str,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Publish arrays (lists of str allowed) as HDF5, built in memory: a full disk under an open one is a crash."""
    extra = extra or {}
    payload = formats.arrays_digest(arrays, extra)
    _publish_sealed(path, formats.hdf5_bytes(arrays, unsealed_metadata(path, made_by, schema, payload, extra)))


def write_text(
    path: str | Path, text: str, made_by: Provenance, *, schema: str, extra: Mapping[str, str] | None = None
) -> None:
    """Publish an HTML page or a Markdown text with its metadata in a trailing comment."""
    extra = extra or {}
    payload = hashlib.sha256(text.encode()).hexdigest()
    _publish_sealed(path, formats.text_bytes(text, unsealed_metadata(path, made_by, schema, payload, extra)))


def write_json(path: str | Path, content: Mapping[str, Any], made_by: Provenance, *, schema: str) -> None:
    """Publish a small JSON object, its metadata under `visionfm`."""
    payload = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    _publish_sealed(path, formats.json_bytes(content, unsealed_metadata(path, made_by, schema, payload, {})))


# --- reading --------------------------------------------------------------------------------------------------------


def read_metadata(
    path: str | Path, schema: str | None = None, *, verify: bool = True, earlier: bool = False
) -> dict[str, str]:
    """Return an artefact's metadata, after checking that it is whole and belongs where it lies (`tree`).

    `schema` is the one that its reader knows. `earlier`: it is what an earlier run left, of which parts are reused by
    an identity of their own; it need not belong to the tree of now. ArtifactError where it is not so.
    """
    path = Path(path)
    metadata = sealed_metadata(path) if verify else _head(path)
    if schema is not None and metadata.get("schema") != schema:
        raise ArtifactError(
            f"{path.name} is another kind of artefact, or one of another version",
            expected=schema,
            found=metadata.get("schema", "no schema"),
            where=path,
            do="name another file, or run the stage that writes it",
        )
    if verify and not earlier:
        tree.check(path, metadata, sealed_metadata, _head)
    return metadata


def sealed_metadata(path: Path) -> dict[str, str]:
    """Return an artefact's metadata, after checking that no byte of the file changed since it was written.

    The check comes before any parser sees the file: the C libraries of HDF5 and Parquet do not survive every damage.
    """
    if not _reading(path, _is_as_written):
        raise _damaged(path, "its bytes do not match its checksum, or it has none")
    return _head(path)


def _head(path: Path) -> dict[str, str]:
    """Return what a file says of itself; ArtifactError unless these are texts by name, as in all that we write."""
    metadata: dict[str, str] = _reading(path, formats.read_metadata)
    if not all(type(text) is str for text in (*metadata, *metadata.values())):
        raise _damaged(path, "its metadata are not texts")
    if missing := [name for name in SAID if name not in metadata]:
        raise _damaged(path, f"its metadata lack {', '.join(missing)}")
    return metadata


@contextmanager
def understood(path: str | Path) -> Iterator[None]:
    """Turn what the block raises where the content of a checked artefact makes no sense into ArtifactError.

    A seal says that no byte has changed since somebody set it, and nothing of what the bytes say.
    """
    path = Path(path)
    try:
        yield
    except formats.UNREADABLE as error:
        if _is_the_systems(error):
            raise cannot_read_now(path, error) from error
        raise _damaged(path, f"what it says makes no sense: {error}") from error


def check_schema(metadata: Mapping[str, str], schema: str, what: str, path: Path) -> None:
    """Raise ArtifactError unless a file's metadata say that it is `what`."""
    if (found := metadata.get("schema")) != schema:
        raise ArtifactError(f"{path.name} is no {what}", expected=schema, found=found, where=path, do="name another")


def is_artifact(path: str | Path) -> bool:
    """Tell whether a stage wrote this file: a copy of it is kept, or it is whole and says which stage that was.

    Damage may take everything from a file but its kept copy. A file without either may be anything of a user's.
    """
    path = Path(path)
    kept = kept_path(path)
    if kept is not None and kept.is_file():
        return True
    try:
        return sealed_metadata(path).get("stage") in VERSIONS
    except ArtifactError:
        return False


def payload_digest(path: str | Path) -> str:
    """Return the digest of what a (checked) artefact says, apart from how it came to be."""
    return read_metadata(path)["payload_sha256"]


def read_table(
    path: str | Path,
    columns: tuple[str, ...] | None = None,
    *,
    schema: str | None = None,
    earlier: bool = False,
    checked: bool = False,
) -> Any:
    """Return a checked Parquet artefact as `pyarrow.Table`; its schema's metadata is the artefact's.

    `columns`: only these, where it has them. `earlier` as in `read_metadata`. `checked`: this process did so before,
    as where it asked for the payload: an index of a million thumbnails is a gigabyte.
    """
    read_metadata(path, schema, verify=not checked, earlier=earlier)
    return _reading(Path(path), lambda whole: formats.read_table(whole, columns))


def table_batches(path: str | Path, columns: tuple[str, ...], opened: BinaryIO | None = None) -> Iterator[Any]:
    """Yield some columns of a Parquet artefact that was checked before, as record batches: not all of it in memory.

    `opened` is the file as it was when it was checked, where another may be put in its place.
    """
    path = Path(path)
    with understood(path):
        yield from formats.table_batches(path if opened is None else opened, columns)


def read_tensors(path: str | Path, schema: str | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the numpy arrays and the metadata of a checked safetensors artefact."""
    metadata = read_metadata(path, schema)
    return _reading(Path(path), formats.read_tensors), metadata


def read_hdf5(
    path: str | Path, names: tuple[str, ...] | None = None, schema: str | None = None, *, earlier: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays (all, or those named; text as object arrays of str) and the metadata of a checked HDF5 file."""
    metadata = read_metadata(path, schema, earlier=earlier)
    return _reading(Path(path), lambda checked: formats.read_hdf5(checked, names)), metadata


def read_hdf5_arrays(path: str | Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Return some arrays of an HDF5 artefact that was checked before."""
    return _reading(Path(path), lambda checked: formats.read_hdf5(checked, names))  # type: ignore[no-any-return]


def read_json(path: str | Path, schema: str | None = None) -> dict[str, Any]:
    """Return the content of a checked JSON artefact, without its metadata."""
    read_metadata(path, schema)
    content: dict[str, Any] = _reading(Path(path), formats.read_json)
    del content["visionfm"]
    return content


def read_text(path: str | Path) -> str:
    """Return the text of a checked HTML or Markdown artefact, without its metadata."""
    read_metadata(path)
    return str(_reading(Path(path), formats.read_text))


def tensor_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a safetensors artefact that was checked before, from its header alone."""
    return _reading(Path(path), formats.tensor_shapes)  # type: ignore[no-any-return]


def _reading(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        if not path.is_file():
            raise ArtifactError("an artefact is missing", where=path, do="run the stage that writes it")
        return read(path)
    except formats.UNREADABLE as error:
        if _is_the_systems(error):
            raise cannot_read_now(path, error) from error
        raise _damaged(path, f"it cannot be read: {error}") from error


def _is_the_systems(error: Exception) -> bool:
    """Tell the system's errors from the parsers': those of HDF5 and Parquet are OSErrors too, but bear no number."""
    if isinstance(error, OSError):
        return bool(error.errno) and error.errno != errno.EINVAL  # what a seek to nowhere gives
    return isinstance(error, MemoryError)


def _damaged(path: Path, why: str) -> ArtifactError:
    kept = kept_path(path)
    if kept is not None and kept.is_file():
        do = f"`visionfm forget {path}`, then run again"
    elif kept is not None:
        do = "if a stage wrote it, delete it and run again"
    else:
        do = "get the file again from where it came; weights of other projects are read by `import` alone"
    return ArtifactError(
        f"{path.name} is damaged, or no artefact: {why}", expected="the file as it was written", where=path, do=do
    )


def _is_as_written(path: Path) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as view:
        # From the end: the artefacts that an archive holds have fields of their own, and its comment comes last.
        for at, value in reversed(list(_seals(view))):
            digest = hashlib.sha256()
            with memoryview(view) as content:
                digest.update(content[:at])
                digest.update(UNSEALED.encode())
                digest.update(content[at + len(UNSEALED) :])
            if digest.hexdigest().encode() == value:
                return True
    return False
