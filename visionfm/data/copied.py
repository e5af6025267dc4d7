"""The copies within a dataset and between two, by what their indices keep; what was found is kept for the next run.

A search depends on the images alone: no label, split or task repeats it.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visionfm import artifacts
from visionfm.data import copies, splits
from visionfm.data.index import SCHEMA as IMAGES
from visionfm.data.index import THUMBNAILS
from visionfm.errors import ArtifactError
from visionfm.images.identity import file_id

SCHEMA = "visionfm/copies/1"
COLUMNS = {
    **{name: "string" for name in ("path", "file", "other_path", "other_file")},
    **{"score": "double", "mirrored": "bool"},
}
MOST_PAIRS = 2_000_000_000  # some ten minutes of one core; 60,000 images against each other
log = logging.getLogger("visionfm")


class Pair(NamedTuple):
    """Two images, of different files, that show the same photograph: paths, and digests of the files."""

    path: str
    file: str
    other_path: str
    other_file: str
    score: float
    mirrored: bool


@dataclass(frozen=True)
class Indexed:
    """The index of a dataset, in its shards."""

    dataset: str
    files: Sequence[Path]

    @cached_property
    def digest(self) -> str:
        """The digest of all thumbnails, which the index itself computed, and of the paths that pairs name."""
        said = [artifacts.read_metadata(path, IMAGES, verify=False).get(THUMBNAILS, "") for path in self.files]
        for file in self.files:
            said += artifacts.read_table(file, ("path",), schema=IMAGES)["path"].to_pylist()
        return hashlib.sha256("\0".join(said).encode()).hexdigest()

    @cached_property
    def number(self) -> int:
        """How many rows it has."""
        return sum(artifacts.read_table(path, ("image_id",), schema=IMAGES).num_rows for path in self.files)

    def images(self) -> tuple[list[str], list[str], list[bytes]]:
        """Return path, image id and thumbnail of the readable images, each different image once."""
        first: dict[str, tuple[str, bytes]] = {}
        for file in self.files:
            table = artifacts.read_table(file, ("path", "image_id", "thumbnail"), schema=IMAGES)
            rows = zip(*(table[name].to_pylist() for name in ("image_id", "path", "thumbnail")), strict=True)
            for image_id, path, thumbnail in rows:
                if thumbnail is not None and path < first.get(image_id, (path + "a",))[0]:
                    first[image_id] = path, thumbnail
        found = sorted((path, image_id, thumbnail) for image_id, (path, thumbnail) in first.items())
        return [one[0] for one in found], [one[1] for one in found], [one[2] for one in found]


def index_of(dataset: str, files: Sequence[Path]) -> Indexed:
    """Return the index of a dataset; its shards are one, in whatever order they are given."""
    return Indexed(dataset, sorted(files))


def too_many(one: Indexed, other: Indexed | None) -> bool:
    """Tell whether so many images meet that copies are not sought: equal bytes are found all the same."""
    meetings = one.number * (one.number - 1) // 2 if other is None else one.number * other.number
    return meetings > MOST_PAIRS


def not_sought(one: str, other: str | None = None) -> str:
    """Return the words for images among which copies are not sought."""
    return (
        f"too many images in {one}{f' and {other}' if other else ''} to seek copies among them; equal files are found"
    )


def pairs(one: Indexed, other: Indexed | None, stage: str, out: Path) -> list[Pair]:
    """Return the copies within a dataset, or between two, for a stage that writes `out`; none among `too_many`."""
    if too_many(one, other):
        log.warning(not_sought(one.dataset, None if other is None else other.dataset))
        return []
    names = [one.dataset] if other is None else [one.dataset, other.dataset]
    inputs = {"one": one.digest} | ({} if other is None else {"other": other.digest})
    made_by = artifacts.provenance(stage, {"copies": names}, inputs)
    kept = artifacts.kept_path(out)
    keep = None if kept is None else kept.with_name(f"copies-{'-'.join(names)}.parquet")
    if keep is not None and (found := _kept(keep, made_by)) is not None:
        return found
    found = _searched(one, other)
    if keep is not None:
        table = artifacts.table_of([pair._asdict() for pair in found], COLUMNS)
        artifacts.write_table(keep, table, made_by, schema=SCHEMA)
    return found


def _kept(keep: Path, made_by: artifacts.Provenance) -> list[Pair] | None:
    """Return what an earlier run found in the same images; None where there is no such run."""
    if not keep.is_file():
        return None
    try:
        if artifacts.read_metadata(keep, SCHEMA, earlier=True)["key"] != made_by.key:
            return None
        return [Pair(**row) for row in artifacts.read_table(keep, schema=SCHEMA, earlier=True).to_pylist()]
    except ArtifactError as error:
        log.warning("%s; copies are sought again", error.problem)
        return None


def _searched(one: Indexed, other: Indexed | None) -> list[Pair]:
    paths, ids, thumbnails = one.images()
    other_paths, other_ids, other_thumbnails = (paths, ids, None) if other is None else other.images()
    files, other_files = ([file_id(image_id) for image_id in of] for of in (ids, other_ids))
    _, number = np.unique(np.array([*files, *other_files], dtype=str), return_inverse=True)
    found = copies.search(
        copies.structure(thumbnails),
        None if other_thumbnails is None else copies.structure(other_thumbnails),
        number[: len(files)],
        number[len(files) :],
    )
    return [
        Pair(
            *(paths[copy.one], files[copy.one], other_paths[copy.other], other_files[copy.other]),
            *(copy.score, copy.mirrored),
        )
        for copy in found
    ]


def names(joined: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return for each file that has copies what all of them are called: the smallest digest among them."""
    members: dict[int, set[str]] = {}
    for number, both in zip(splits.connected(joined), joined, strict=True):
        members.setdefault(number, set()).update(both)
    return {file: min(group) for group in members.values() for file in group}
