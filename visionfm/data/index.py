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
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.large_tables import PIECE_ROWS, write_pieces
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
NO_ACCESS = "no_access"  # begins the status of a file that could not be opened
SOME_ROWS = 1_000  # that were read now, as objects
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
    if settings.shards > 1:
        images = [entry for entry in images if in_shard(entry.path, settings.shard, settings.shards)]
    made_by = artifacts.provenance("index", settings.model_dump(mode="json"), {"listing": _listing_digest(images)})
    if artifacts.recall(out, made_by):
        return
    # Which reading a row stems from: another frame or limit, or a new version of the stage, reads all files again.
    reading = artifacts.provenance("index", settings.model_dump(mode="json", exclude={"shard", "shards"}), {}).key
    listed = len(images)
    rows, fresh = _known_rows(out, reading, images)
    del images
    extra = {"reading": reading, "modality": settings.modality}
    last = time.monotonic()
    for of_file in track(_read(root, fresh, settings, jobs), total=len(fresh), what="index"):
        rows.add(of_file)
        if time.monotonic() - last > PARTIAL_EVERY_S and (partial := _partial(out)):
            rows.write(partial, made_by, {"reading": reading}, partial=True)
            last = time.monotonic()
    table = rows.sorted()
    _check_access(root, table)
    rows.write(out, made_by, extra)
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
    reused = listed - len(fresh)
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
    for row in table.filter(pc.starts_with(table["status"], NO_ACCESS)).to_pylist():
        problems.add(f"{row['path']}: {row['status']}")
    problems.raise_if_any(do="correct the files' permissions, or check the disk")


def _partial(out: Path) -> Path | None:
    kept = artifacts.kept_path(out)
    return None if kept is None else kept.with_name(f"{out.stem}.partial.parquet")


def _listing_digest(images: list[Listed]) -> str:
    """Return the sha256 of a listing as JSON, which is not written out whole: it may be of millions of files."""
    digest = hashlib.sha256(b"[")
    for start in range(0, len(images), PIECE_ROWS):
        text = json.dumps(images[start : start + PIECE_ROWS])[1:-1]
        digest.update((", " * (start > 0) + text).encode())
    digest.update(b"]")
    return digest.hexdigest()


class _Source(NamedTuple):
    """An earlier index, held open: a neighbouring job may put another in its place before its thumbnails are read."""

    path: Path
    opened: BinaryIO


class _Rows:
    """The rows of an index while it is put together: what earlier indices say of files, and what was read now.

    Thumbnails of earlier rows stay in their files until they are written: those of a million images take a gigabyte.
    """

    def __init__(self, files: list[_Source], known: list[Any], partial: Path | None) -> None:
        """`known` are rows without thumbnail of each file, with the number of their `row` in it; in order of path.

        What a `partial` index holds counts as read now, for it is written anew.
        """
        self.files, self.fresh, self.thumbnails = files, list[Row](), list[bytes | None]()
        self.tables: list[Any] = []
        for at, (file, table) in enumerate(zip(files, known, strict=True)):
            if file.path == partial:
                self.thumbnails += _Stored(file).take(table["row"].to_numpy()).tolist()
                self._add(table.drop_columns(["row"]))
            else:
                self.tables.append(table.append_column("source", _repeat(at, table)))

    def add(self, rows: list[Row]) -> None:
        """Take rows that were read now."""
        for row in rows:
            self.thumbnails.append(row["thumbnail"])
            self.fresh.append(row)
        if len(self.fresh) >= SOME_ROWS:
            self._to_columns()

    def _to_columns(self) -> None:
        import pyarrow as pa

        self._add(pa.Table.from_pylist(self.fresh, schema=_schema(thumbnail=False)))
        self.fresh.clear()

    def _add(self, table: Any) -> None:
        """Take rows whose thumbnails are the last."""
        import pyarrow as pa

        end = len(self.thumbnails)
        table = table.append_column("row", pa.array(range(end - table.num_rows, end), pa.int64()))
        self.tables.append(table.append_column("source", _repeat(len(self.files), table)))

    def sorted(self) -> Any:
        """Return all rows by path, without thumbnails, with `source` and `row` of these."""
        import pyarrow as pa

        self._to_columns()
        self.tables = [pa.concat_tables(self.tables).sort_by("path").combine_chunks()]
        return self.tables[0]

    def write(self, out: Path, made_by: artifacts.Provenance, extra: dict[str, str], *, partial: bool = False) -> None:
        """Write an index, a `partial` one of what was read now alone."""
        import pyarrow.compute as pc

        table = self.sorted()
        if partial:
            table = table.filter(pc.equal(table["source"], len(self.files)))
        digest = hashlib.sha256()

        def pieces() -> Iterator[Any]:
            stored = [_Stored(file) for file in self.files]
            for start in range(0, max(table.num_rows, 1), PIECE_ROWS):
                piece = table.slice(start, PIECE_ROWS)
                source_N, row_N = piece["source"].to_numpy(), piece["row"].to_numpy()
                thumbnails = np.empty(piece.num_rows, object)
                for at, file in enumerate(stored):
                    thumbnails[source_N == at] = file.take(row_N[source_N == at])
                for place in np.flatnonzero(source_N == len(stored)).tolist():
                    thumbnails[place] = self.thumbnails[row_N[place]]
                for image_id, thumbnail in zip(piece["image_id"].to_pylist(), thumbnails, strict=True):
                    digest.update(image_id.encode() + hashlib.sha256(thumbnail or b"").digest())
                yield piece.drop_columns(["source", "row"]).append_column(
                    _schema().field("thumbnail"), [_binary(thumbnails)]
                )

        def said() -> dict[str, str]:
            return extra if partial else {**extra, THUMBNAILS: digest.hexdigest()}

        payload = table.drop_columns(["source", "row"])
        write_pieces(
            out, pieces(), _schema(), made_by, schema=SCHEMA, payload=payload, extra=said, not_payload=NOT_PAYLOAD
        )


class _Stored:
    """The thumbnails of an index on the disk, read from its first row to its last."""

    def __init__(self, source: _Source) -> None:
        self.batches = artifacts.table_batches(source.path, ("thumbnail",), source.opened)
        self.start, self.held = 0, list[bytes | None]()

    def take(self, row_N: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """Return the thumbnails of some rows, which rise from call to call."""
        found = np.empty(len(row_N), object)
        for at, row in enumerate(row_N.tolist()):
            while row >= self.start + len(self.held):
                self.start += len(self.held)
                self.held = next(self.batches)["thumbnail"].to_pylist()
            found[at] = self.held[row - self.start]
        return found


def _repeat(number: int, table: Any) -> Any:
    import pyarrow as pa

    return pa.repeat(pa.scalar(number, pa.int32()), table.num_rows)


def _binary(values: npt.NDArray[np.object_]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.binary())


def _known_rows(out: Path, reading: str, listed: list[Listed]) -> tuple[_Rows, list[Listed]]:
    """Return what earlier indices of this dataset, of any sharding, say of these files, and the files they do not know.

    An index counts if it was read the same way, a row if size and date of its file are the same.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = artifacts.kept_path(out)
    paths = pa.array([entry.path for entry in listed], pa.string())
    bytes_N, mtime_ns_N = (np.fromiter((entry[field] for entry in listed), np.int64, len(listed)) for field in (1, 2))
    sources: list[_Source] = []
    tables: list[tuple[Any, npt.NDArray[np.int64]]] = []
    source_N = np.full(len(listed), -1)  # the index that tells of a file; of several, the last
    for path in sorted((kept or out).parent.glob("images*.parquet")):
        try:
            found = _opened(path, reading)
        except ArtifactError as error:
            log.warning("%s; its images are read again", error.problem)
            continue
        if found is None:
            continue
        source, table = found
        files = file_paths(table["path"], table["image_id"])
        at_M = pc.fill_null(pc.index_in(files, value_set=paths), -1).to_numpy().astype(np.int64)
        rows_M = np.flatnonzero(at_M >= 0)
        size_M, date_M = (table[name].to_numpy()[rows_M] for name in ("bytes", "mtime_ns"))
        is_same_M = (size_M == bytes_N[at_M[rows_M]]) & (date_M == mtime_ns_N[at_M[rows_M]])
        denied_M = pc.starts_with(table["status"], NO_ACCESS).to_numpy()[rows_M]  # changes neither size nor date
        rows_M = rows_M[is_same_M & ~denied_M]
        source_N[at_M[rows_M]] = len(tables)
        if len(rows_M) < table.num_rows:
            table = table.take(pa.array(rows_M))
        table = table.cast(_schema(thumbnail=False)).append_column("row", pa.array(rows_M, pa.int64()))
        tables.append((table, at_M[rows_M]))
        sources.append(source)
    own = [
        table if (source_N[at_M] == source).all() else table.filter(pa.array(source_N[at_M] == source))
        for source, (table, at_M) in enumerate(tables)
    ]
    return _Rows(sources, own, _partial(out)), [listed[at] for at in np.flatnonzero(source_N < 0)]


def _opened(path: Path, reading: str) -> tuple[_Source, Any] | None:
    """Return an earlier index, held open, and its rows without thumbnails; None where it was read in another way."""
    names = _schema(thumbnail=False).names
    while path.exists():  # a partial one of a neighbouring job goes when that has ended
        with ExitStack() as closed:
            opened = closed.enter_context(path.open("rb"))
            if artifacts.read_metadata(path, SCHEMA, earlier=True).get("reading") != reading:
                return None
            table = artifacts.read_table(path, tuple(names), schema=SCHEMA, checked=True).select(names)
            if path.exists() and os.path.samestat(os.fstat(opened.fileno()), path.stat()):
                closed.pop_all()
                return _Source(path, opened), table
    return None


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


def _schema(*, thumbnail: bool = True) -> Any:
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
        *("bytes", "mtime_ns", "status", "note", *(["thumbnail"] if thumbnail else [])),
    )
    return pa.schema([(name, types.get(name, pa.string())) for name in names])
