"""The files of a pack: which images stand in which, and how they are written and found again.

A data file holds the images whose id falls into its bucket, in order of id; its name says which images these are.
Hence one more image rewrites one file, and an incremental pack has the bytes of a new one. Data files are artefacts
beside the index, which is the declared output and names them.
"""

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.files import put_back
from visionfm.errors import ArtifactError, cannot_read_now

SCHEMA, DATA_SCHEMA = "visionfm/pack/1", "visionfm/pack-data/1"
BUCKET_BYTES = 768 << 20  # of pixels; about a third of it in the file
TENSOR = "content"
log = logging.getLogger("visionfm")
Row = dict[str, Any]


class Wanted(NamedTuple):
    """An image that a pack shall hold: its id, a path of it, and its size after shrinking."""

    image_id: str
    path: str
    width: int
    height: int


class Bucket(NamedTuple):
    """One data file to be: its name and its images, in order of id."""

    name: str
    images: list[Wanted]


def buckets_of(images: Sequence[Wanted], stem: str, reading: str) -> list[Bucket]:
    """Cut different images into buckets by their ids: a power of two of them, so that a growing pack splits evenly."""
    pixels = sum(image.width * image.height * 3 for image in images)
    bits = max(0, (-(-pixels // BUCKET_BYTES) - 1).bit_length())
    groups: dict[int, list[Wanted]] = {}
    for image in sorted(images):
        groups.setdefault(int(image.image_id[:8], 16) >> (32 - bits), []).append(image)
    found = []
    for number, group in sorted(groups.items()):
        said = json.dumps([reading, [image.image_id for image in group]])
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        found.append(Bucket(f"{stem}.{number:04d}.{digest}.safetensors", group))
    return found


def is_there(path: Path) -> bool:
    """Tell whether a data file is there, linking its kept copy back where only that is."""
    kept = artifacts.kept_path(path)
    if not path.is_file() and kept is not None and kept.is_file():
        put_back(kept, path)
    return path.is_file()


def digest_of(images: Sequence[Wanted]) -> str:
    """Return what a pack of these images depends on: which they are and how large, not what their files are called."""
    said = sorted((image.image_id, image.width, image.height) for image in images)
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def write_data(path: Path, contents: Sequence[bytes], bucket: Bucket, reading: str) -> None:
    """Publish a data file, with the rows of the index that it makes true in its metadata."""
    made_by = artifacts.provenance("pack", {"reading": reading}, {"images": digest_of(bucket.images)})
    rows, at = [], 0
    for image, content in zip(bucket.images, contents, strict=True):
        rows.append([image.image_id, image.width, image.height, at, len(content), zlib.crc32(content)])
        at += len(content)
    joined = np.frombuffer(b"".join(contents), np.uint8)
    artifacts.write_tensors(
        path, {TENSOR: joined}, made_by, schema=DATA_SCHEMA, extra={"rows": json.dumps(rows), "reading": reading}
    )


def rows_of(path: Path) -> list[Row]:
    """Return the index's rows of one data file: where each of its images lies; read from its header alone."""
    metadata = artifacts.read_metadata(path, verify=False)
    artifacts.check_schema(metadata, DATA_SCHEMA, "pack's data", path)
    with path.open("rb") as handle:
        start = 8 + int.from_bytes(handle.read(8), "little")
    names = ("image_id", "width", "height", "at", "bytes", "crc32")
    with artifacts.understood(path):
        rows = [dict(zip(names, row, strict=True)) for row in json.loads(metadata["rows"])]
        whole = path.stat().st_size == start + sum(row["bytes"] for row in rows)
    if not whole:
        raise ArtifactError("a pack's data is cut short", where=path, do=f"`visionfm forget {path.parent}`, run again")
    return [row | {"file": path.name, "at": start + row["at"]} for row in rows]


def read_content(folder: Path, row: Mapping[str, Any]) -> bytes:
    """Return an image's bytes as a data file holds them, checked."""
    path = folder / row["file"]
    try:
        with path.open("rb") as handle:
            handle.seek(row["at"])
            content: bytes = handle.read(row["bytes"])
    except OSError as error:
        raise cannot_read_now(path, error) from error
    if zlib.crc32(content) != row["crc32"]:
        raise ArtifactError(
            "a pack's data is damaged", where=path, do=f"`visionfm forget {path.parent}`, then run again"
        )
    return content


def write_index(path: Path, rows: Iterable[Row], made_by: artifacts.Provenance, extra: Mapping[str, str]) -> None:
    """Publish the index: one row per image, in order of id."""
    import pyarrow as pa

    schema = pa.schema(
        [
            ("image_id", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("file", pa.string()),
            ("at", pa.int64()),
            ("bytes", pa.int64()),
            ("crc32", pa.int64()),
        ]
    )
    ordered = sorted(rows, key=lambda row: str(row["image_id"]))
    artifacts.write_table(path, pa.Table.from_pylist(ordered, schema=schema), made_by, schema=SCHEMA, extra=extra)


def remove_others(folder: Path, stem: str, wanted: Iterable[str]) -> None:
    """Drop this pack's data files that no index needs any more, and their kept copies."""
    keep = set(wanted)
    kept = artifacts.kept_path(folder)
    for place in (folder, kept):
        for path in place.glob(f"{stem}.[0-9][0-9][0-9][0-9].*.safetensors") if place is not None else ():
            if path.name not in keep:
                path.unlink(missing_ok=True)
                log.debug("removed %s", path)
