"""Stage `index`: reads every image of a dataset once and writes `images.parquet`, sorted by path.

It has a row per file, or, where the config says `frames`, per frame of files that hold several. Files
whose size and date did not change since the kept index are not read again. Labels play no part.
"""

import argparse
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.data.layouts.folders import Listed
from visionfm.data.listing import list_images, no_images, to_install
from visionfm.data.settings import IndexSettings
from visionfm.errors import ArtifactError, DataError, Problems
from visionfm.images.identity import file_paths, image_id_of, row_path
from visionfm.images.parallel import killed_worker
from visionfm.images.reading import ImageFacts, inspect_frames
from visionfm.runtime.progress import track

SCHEMA = "visionfm/images/1"
PARTIAL_EVERY_S = 60.0
THUMBNAILS = "thumbnails"  # in its metadata: the digest of that column
# What no other stage uses; whoever seeks copies depends on the digest of the thumbnails.
NOT_PAYLOAD = ("mtime_ns", "reading", "thumbnail", THUMBNAILS)
Row = dict[str, Any]
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--root", required=True, type=Path, help="the dataset's folder")
    parser.add_argument("--out", required=True, type=Path, help="images.parquet")
    parser.add_argument("--jobs", type=int, default=1, help="processes that read images")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    index(args.root, args.out, IndexSettings.model_validate_json(args.settings), args.jobs)


def in_shard(path: str, shard: int, shards: int) -> bool:
    """Tell whether a path belongs to a shard; a path's shard does not depend on its neighbours."""
    return (
        shards == 1
        or int.from_bytes(hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()[:8]) % shards == shard
    )


def index(root: Path, out: Path, settings: IndexSettings, jobs: int = 1) -> None:
    """Write the index of a dataset (or of one shard of it) to `out`."""
    import pyarrow.compute as pc

    images = list_images(root, settings.layout, settings.images)
    if not images:
        raise no_images(root, settings.layout, settings.images)
    _check_names(root, images)
    if missing := to_install(images):
        raise DataError("images cannot be read by this installation", found="; ".join(missing), where=root,
                        do="install that, or limit what is an image by `images`")  # fmt: skip
    listed = [entry for entry in images if in_shard(entry.path, settings.shard, settings.shards)]
    listing = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    made_by = artifacts.provenance("index", settings.model_dump(mode="json"), {"listing": listing})
    if artifacts.recall(out, made_by):
        return
    # Which reading a row stems from: another frame or limit, or a new version of the stage, reads all files again.
    reading = artifacts.provenance("index", settings.model_dump(mode="json", exclude={"shard", "shards"}), {}).key
    known, fresh = _known_rows(out, reading, listed)
    rows: list[Row] = []
    last = time.monotonic()
    for of_file in track(_read(root, fresh, settings, jobs), total=len(fresh), what="index"):
        rows += of_file
        if time.monotonic() - last > PARTIAL_EVERY_S and (partial := _partial(out)):
            so_far = _table(known, rows)
            artifacts.write_table(
                partial, so_far, made_by, schema=SCHEMA, extra={"reading": reading}, not_payload=NOT_PAYLOAD
            )
            last = time.monotonic()
    table = _table(known, rows)
    _check_access(root, table)
    extra = {"reading": reading, "modality": settings.modality, THUMBNAILS: _digest(table)}
    artifacts.write_table(out, table, made_by, schema=SCHEMA, extra=extra, not_payload=NOT_PAYLOAD)
    if (partial := _partial(out)) is not None:
        partial.unlink(missing_ok=True)
    bad = table.filter(pc.not_equal(table["status"], "ok"))
    for row in bad.slice(0, 20).to_pylist():
        log.warning("unreadable: %s: %s", row["path"], row["status"])
    noted = table.filter(table["note"].is_valid())
    for row in noted.slice(0, 20).to_pylist():
        log.warning("noted: %s: %s", row["path"], row["note"])
    if noted.num_rows > 20:
        log.warning("noted: %d further images; see `note` in %s", noted.num_rows - 20, out)
    reused = len(listed) - len(fresh)
    log.info("index: read %d, reused %d, unreadable %d; %s", len(fresh), reused, bad.num_rows, out)


def _check_names(root: Path, images: list[Listed]) -> None:
    """Raise DataError for file names that no table can hold."""
    problems = Problems(DataError, f"images below {root}")
    for entry in images:
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            problems.add(f"{entry.path!r}: the file's name is not UTF-8")
    problems.raise_if_any(do="rename these files")


def _check_access(root: Path, table: Any) -> None:
    """Raise DataError for files that could not be opened: their size and date will not tell when they can be."""
    import pyarrow.compute as pc

    problems = Problems(DataError, f"images below {root}")
    for row in table.filter(pc.starts_with(table["status"], "no_access")).to_pylist():
        problems.add(f"{row['path']}: {row['status']}")
    problems.raise_if_any(do="correct the files' permissions, or check the disk")


def _partial(out: Path) -> Path | None:
    kept = artifacts.kept_path(out)
    return None if kept is None else kept.with_name(f"{out.stem}.partial.parquet")


def _known_rows(out: Path, reading: str, listed: list[Listed]) -> tuple[Any, list[Listed]]:
    """Return what earlier indices of this dataset, of any sharding, say of these files, and the files they do not know.

    An index counts if it was read the same way, a row if size and date of its file are the same.
    """
    import pyarrow as pa

    kept = artifacts.kept_path(out)
    place = {entry.path: at for at, entry in enumerate(listed)}
    bytes_N, mtime_ns_N = (np.array([entry[field] for entry in listed], np.int64) for field in (1, 2))
    tables: list[tuple[Any, npt.NDArray[np.int64]]] = []
    source_N = np.full(len(listed), -1)  # the index that tells of a file; of several, the last
    for path in sorted((kept or out).parent.glob("images*.parquet")):
        try:
            if artifacts.read_metadata(path, SCHEMA, earlier=True).get("reading") != reading:
                continue
            table = artifacts.read_table(path, schema=SCHEMA, earlier=True).select(_schema().names)
        except ArtifactError as error:
            log.warning("%s; its images are read again", error.problem)
            continue
        files = file_paths(table["path"], table["image_id"]).to_pylist()
        at_M = np.array([place.get(name, -1) for name in files], np.int64)
        rows_M = np.flatnonzero(at_M >= 0)
        size_M, date_M = (table[name].to_numpy()[rows_M] for name in ("bytes", "mtime_ns"))
        rows_M = rows_M[(size_M == bytes_N[at_M[rows_M]]) & (date_M == mtime_ns_N[at_M[rows_M]])]
        source_N[at_M[rows_M]] = len(tables)
        tables.append((table.take(pa.array(rows_M)).cast(_schema()), at_M[rows_M]))
    own = [table.filter(pa.array(source_N[at_M] == source)) for source, (table, at_M) in enumerate(tables)]
    return pa.concat_tables([_schema().empty_table(), *own]), [listed[at] for at in np.flatnonzero(source_N < 0)]


def _read(root: Path, listed: list[Listed], settings: IndexSettings, jobs: int) -> Iterator[list[Row]]:
    work = [(root, entry, settings) for entry in listed]
    if jobs <= 1 or len(work) < 32:
        yield from map(_read_one, work)
        return
    try:
        with ProcessPoolExecutor(min(jobs, os.cpu_count() or 1)) as pool:
            yield from pool.map(_read_one, work, chunksize=8)
    except BrokenProcessPool as error:
        raise killed_worker() from error


def _read_one(work: tuple[Path, Listed, IndexSettings]) -> list[Row]:
    root, entry, settings = work
    return [_row(entry, *found, settings) for found in inspect_frames(root / entry.path, settings, settings.frames)]


def _row(entry: Listed, frame: int | None, facts: ImageFacts, settings: IndexSettings) -> Row:
    return {
        "path": row_path(entry.path, frame),
        "image_id": image_id_of(facts.image_id, frame),
        "modality": settings.modality,
        "width": facts.width,
        "height": facts.height,
        "mode": facts.mode,
        "frames": facts.frames,
        "orientation": facts.orientation,
        "bytes": entry.bytes,
        "mtime_ns": entry.mtime_ns,
        "status": facts.status,
        "note": facts.note,
        "thumbnail": facts.thumbnail,
    }


def _schema() -> Any:
    import pyarrow as pa

    types = {
        "width": pa.int32(),
        "height": pa.int32(),
        "frames": pa.int32(),
        "orientation": pa.int32(),
        "bytes": pa.int64(),
        "mtime_ns": pa.int64(),
        "thumbnail": pa.binary(),
    }
    names = (
        *("path", "image_id", "modality", "width", "height", "mode", "frames", "orientation"),
        *("bytes", "mtime_ns", "status", "note", "thumbnail"),
    )
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def _digest(table: Any) -> str:
    """Return the digest of the images and their thumbnails, in order."""
    digest = hashlib.sha256()
    for image_id, thumbnail in zip(table["image_id"].to_pylist(), table["thumbnail"].to_pylist(), strict=True):
        digest.update(image_id.encode() + hashlib.sha256(thumbnail or b"").digest())
    return digest.hexdigest()


def _table(known: Any, rows: list[Row]) -> Any:
    """Return rows of earlier indices and new ones as a table, by path."""
    import pyarrow as pa

    return pa.concat_tables([known, pa.Table.from_pylist(rows, schema=_schema())]).sort_by("path")
