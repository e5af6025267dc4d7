"""The copies within a dataset and between two, by what their indices keep; what was found is kept for the next run.

A search depends on the images alone: no label, split or task repeats it.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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
MOST_PAIRS = 6_000_000_000  # of 109,000 images; 100,000 take 445 s of one core (bench/RESULTS.md)
log = logging.getLogger("visionfm")


class Pair(NamedTuple):
    """Two images, of different files, that show the same photograph: paths, and digests of the files."""

    path: str
    file: str
    other_path: str
    other_file: str
    score: float
    mirrored: bool


class Shown(NamedTuple):
    """A readable image: its path, the digest of its file, its thumbnail."""

    path: str
    file: str
    thumbnail: bytes


@dataclass(frozen=True)
class Indexed:
    """The index of a dataset, in its shards."""

    dataset: str
    files: Sequence[Path]

    @cached_property
    def _read(self) -> tuple[str, int]:
        """The digest of all thumbnails, which the index itself computed, and of the paths that pairs name; rows."""
        said = [artifacts.read_metadata(path, IMAGES, verify=False).get(THUMBNAILS, "") for path in self.files]
        digest, number = hashlib.sha256("\0".join(said).encode()), 0
        for batch in self._batches("path"):
            digest.update("".join(f"\0{path}" for path in batch["path"].to_pylist()).encode())
            number += batch.num_rows
        return digest.hexdigest(), number

    @property
    def digest(self) -> str:
        """The digest of what a search depends on."""
        return self._read[0]

    @property
    def number(self) -> int:
        """How many rows it has."""
        return self._read[1]

    @cached_property
    def looks(self) -> npt.NDArray[np.int64]:
        """A number for the thumbnail of each row: of equal ones it is equal, of others nearly always another."""
        parts = [
            np.array([hash(one) for one in batch["thumbnail"].to_pylist()], np.int64)
            for batch in self._batches("thumbnail")
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def images(self, looks: npt.NDArray[np.int64] | None = None) -> list[Shown]:
        """Return the readable images by path, each different image once; only those of some `looks` where given."""
        first: dict[str, tuple[str, bytes]] = {}
        start = 0
        for batch in self._batches("path", "image_id", "thumbnail"):
            if looks is not None:
                is_wanted = np.isin(self.looks[start : start + batch.num_rows], looks)
                start += batch.num_rows
                batch = batch.take(np.flatnonzero(is_wanted))
            rows = zip(*(batch[name].to_pylist() for name in ("image_id", "path", "thumbnail")), strict=True)
            for image_id, path, thumbnail in rows:
                if thumbnail is not None and path < first.get(image_id, (path + "a",))[0]:
                    first[image_id] = path, thumbnail
        return sorted(Shown(path, file_id(image_id), thumbnail) for image_id, (path, thumbnail) in first.items())

    def _batches(self, *columns: str) -> Iterator[Any]:
        """Yield columns of its files, which the stage checked when it asked for their payloads."""
        for file in self.files:
            yield from artifacts.table_batches(file, columns)


def index_of(dataset: str, files: Sequence[Path]) -> Indexed:
    """Return the index of a dataset; its shards are one, in whatever order they are given."""
    return Indexed(dataset, sorted(files))


def too_many(one: Indexed, other: Indexed | None) -> bool:
    """Tell whether so many images meet that of copies only equal pixels and equal bytes are sought."""
    meetings = one.number * (one.number - 1) // 2 if other is None else one.number * other.number
    return meetings > MOST_PAIRS


def not_sought(one: str, other: str | None = None) -> str:
    """Return the words for images among which copies are not sought."""
    return (
        f"too many images in {one}{f' and {other}' if other else ''} to seek copies among them; "
        "those of equal pixels are found"
    )


def pairs(one: Indexed, other: Indexed | None, stage: str, out: Path) -> list[Pair]:
    """Return the copies within a dataset, or between two, for a stage that writes `out`."""
    if too_many(one, other):
        log.warning(not_sought(one.dataset, None if other is None else other.dataset))
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
    """Return the copies: first those of equal pixels, of which one each stands for all in the search for the others.

    Between two datasets all that it stands for are joined too: it may be the one among them that has no label.
    """
    if too_many(one, other):  # a million thumbnails are a gigabyte: only equal ones become objects
        looks = _repeated(one.looks) if other is None else np.intersect1d(one.looks, other.looks)
        images = one.images(looks)
        return sorted(_equal(images, images if other is None else other.images(looks)))
    images = one.images()
    others = images if other is None else other.images()
    found = list(_equal(images, others))
    mine, theirs = _by_thumbnail(images), _by_thumbnail(others)
    images, others = ([group[0] for group in of.values()] for of in (mine, theirs))
    _, number = np.unique(np.array([image.file for image in [*images, *others]], dtype=str), return_inverse=True)
    similar = copies.search(
        copies.structure([image.thumbnail for image in images]),
        None if other is None else copies.structure([image.thumbnail for image in others]),
        number[: len(images)],
        number[len(images) :],
    )
    for copy in similar:
        first, its = images[copy.one], others[copy.other]
        if first.thumbnail == its.thumbnail:
            continue
        joined = [(first, its)]
        if other is not None:
            joined += [(image, its) for image in mine[first.thumbnail][1:]]
            joined += [(first, image) for image in theirs[its.thumbnail][1:]]
        for a, b in joined:
            if a.file != b.file:
                found.append(Pair(a.path, a.file, b.path, b.file, copy.score, copy.mirrored))
    return sorted(found)


def _repeated(looks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the numbers that stand there more than once."""
    numbers, times = np.unique(looks, return_counts=True)
    return np.asarray(numbers[times > 1])


def _equal(images: list[Shown], others: list[Shown]) -> Iterator[Pair]:
    """Yield images of equal thumbnails, whatever file holds them: of each thumbnail all are joined through the first.

    Two plain pictures, in which nothing is seen, are no copies.
    """
    mine, theirs = _by_thumbnail(images), _by_thumbnail(others)
    same = [one for one in mine if any(image != mine[one][0] for image in theirs.get(one, []))]
    for thumbnail, structure_P in zip(same, copies.structure(same), strict=True):
        first, other_first = mine[thumbnail][0], theirs[thumbnail][0]
        pairs = [(first, image) for image in theirs[thumbnail]]
        pairs += [(image, other_first) for image in mine[thumbnail][1:]] if images is not others else []
        for one, other in pairs:
            if one.file != other.file and structure_P.any():
                yield Pair(one.path, one.file, other.path, other.file, 1.0, False)


def _by_thumbnail(images: list[Shown]) -> dict[bytes, list[Shown]]:
    groups: dict[bytes, list[Shown]] = {}
    for image in images:
        groups.setdefault(image.thumbnail, []).append(image)
    return groups


def names(joined: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return for each file that has copies what all of them are called: the smallest digest among them."""
    members: dict[int, set[str]] = {}
    for number, both in zip(splits.connected(joined), joined, strict=True):
        members.setdefault(number, set()).update(both)
    return {file: min(group) for group in members.values() for file in group}
