"""Stage `index`: reads every image of a dataset once and writes `images.parquet`, one row per file, sorted by path.

Files whose size and date did not change since the kept index are not read again. Labels play no part.
"""

import argparse
import hashlib
import json
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.data.layouts.folders import Listed
from visionfm.data.listing import list_images
from visionfm.data.settings import IndexSettings
from visionfm.errors import ArtifactError, DataError, Problems
from visionfm.images.parallel import killed_worker
from visionfm.images.reading import inspect
from visionfm.runtime.progress import track

SCHEMA = "visionfm/images/1"
PARTIAL_EVERY_S = 60.0
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
    return int.from_bytes(hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()[:8]) % shards == shard


def index(root: Path, out: Path, settings: IndexSettings, jobs: int = 1) -> None:
    """Write the index of a dataset (or of one shard of it) to `out`."""
    images = list_images(root, settings.layout, settings.images)
    if not images:
        raise DataError(
            "the dataset has no images",
            expected=f"image files as layout {settings.layout} has them",
            found="none",
            where=root if settings.images is None else f"{root}, glob {settings.images}",
            do="correct `root`, `layout` or `images` in the config",
        )
    _check_names(root, images)
    listed = [entry for entry in images if in_shard(entry.path, settings.shard, settings.shards)]
    listing = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    made_by = artifacts.provenance("index", settings.model_dump(mode="json"), {"listing": listing})
    if artifacts.recall(out, made_by):
        return
    # Which reading a row stems from: another frame or limit, or a new version of the stage, reads all files again.
    reading = artifacts.provenance("index", settings.model_dump(mode="json", exclude={"shard", "shards"}), {}).key
    known = _known_rows(out, reading, {entry.path for entry in listed})
    rows: dict[str, Row] = {}
    for entry in listed:
        if (row := known.get(entry)) is not None:
            rows[entry.path] = row
    fresh = [entry for entry in listed if entry.path not in rows]
    last = time.monotonic()
    for row in track(_read(root, fresh, settings, jobs), total=len(fresh), what="index"):
        rows[row["path"]] = row
        if time.monotonic() - last > PARTIAL_EVERY_S and (partial := _partial(out)):
            artifacts.write_table(partial, _table(rows), made_by, schema=SCHEMA, extra={"reading": reading})
            last = time.monotonic()
    _check_access(root, rows.values())
    extra = {"reading": reading, "modality": settings.modality}
    artifacts.write_table(out, _table(rows), made_by, schema=SCHEMA, extra=extra, not_payload=("mtime_ns", "reading"))
    if (partial := _partial(out)) is not None:
        partial.unlink(missing_ok=True)
    bad = [row for row in rows.values() if row["status"] != "ok"]
    for row in bad[:20]:
        log.warning("unreadable: %s: %s", row["path"], row["status"])
    noted = [row for row in rows.values() if row["note"] is not None]
    for row in noted[:20]:
        log.warning("range: %s: %s", row["path"], row["note"])
    if len(noted) > 20:
        log.warning("range: %d further images use little of their range; see `note` in %s", len(noted) - 20, out)
    log.info("index: read %d, reused %d, unreadable %d; %s", len(fresh), len(rows) - len(fresh), len(bad), out)


def _check_names(root: Path, images: list[Listed]) -> None:
    """Raise DataError for file names that no table can hold."""
    problems = Problems(DataError, f"images below {root}")
    for entry in images:
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            problems.add(f"{entry.path!r}: the file's name is not UTF-8")
    problems.raise_if_any(do="rename these files")


def _check_access(root: Path, rows: Iterable[Row]) -> None:
    """Raise DataError for files that could not be opened: their size and date will not tell when they can be."""
    problems = Problems(DataError, f"images below {root}")
    for row in rows:
        if row["status"].startswith("no_access"):
            problems.add(f"{row['path']}: {row['status']}")
    problems.raise_if_any(do="correct the files' permissions, or check the disk")


def _partial(out: Path) -> Path | None:
    kept = artifacts.kept_path(out)
    return None if kept is None else kept.with_name(f"{out.stem}.partial.parquet")


def _known_rows(out: Path, reading: str, wanted: Collection[str]) -> dict[Listed, Row]:
    """Return the rows of these paths in earlier indices of this dataset, of any sharding, if read the same way.

    Each shard asks: it makes rows of its own images alone out of the columns of all.
    """
    import pyarrow as pa

    kept = artifacts.kept_path(out)
    rows: dict[Listed, Row] = {}
    for path in sorted((kept or out).parent.glob("images*.parquet")):
        try:
            if artifacts.read_metadata(path).get("reading") == reading:
                table = artifacts.read_table(path)
                mine = table.filter(pa.array((name in wanted for name in table["path"].to_pylist()), pa.bool_()))
                rows.update((Listed(row["path"], row["bytes"], row["mtime_ns"]), row) for row in mine.to_pylist())
        except ArtifactError as error:
            log.warning("%s; its images are read again", error.problem)
    return rows


def _read(root: Path, listed: list[Listed], settings: IndexSettings, jobs: int) -> Iterator[Row]:
    work = [(root, entry, settings) for entry in listed]
    if jobs <= 1 or len(work) < 32:
        yield from map(_read_one, work)
        return
    try:
        with ProcessPoolExecutor(min(jobs, os.cpu_count() or 1)) as pool:
            yield from pool.map(_read_one, work, chunksize=8)
    except BrokenProcessPool as error:
        raise killed_worker() from error


def _read_one(work: tuple[Path, Listed, IndexSettings]) -> Row:
    root, entry, settings = work
    facts = inspect(root / entry.path, settings)
    return {
        "path": entry.path,
        "image_id": facts.image_id,
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
    }


def _table(rows: dict[str, Row]) -> Any:
    import pyarrow as pa

    types = {
        "width": pa.int32(),
        "height": pa.int32(),
        "frames": pa.int32(),
        "orientation": pa.int32(),
        "bytes": pa.int64(),
        "mtime_ns": pa.int64(),
    }
    names = (
        *("path", "image_id", "modality", "width", "height", "mode", "frames", "orientation"),
        *("bytes", "mtime_ns", "status", "note"),
    )
    schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
    return pa.Table.from_pylist([rows[path] for path in sorted(rows)], schema=schema)
