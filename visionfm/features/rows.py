"""What caches of feature vectors and of patch tokens share: what a row is identified by, and where rows are found.

A row is identified by (image bytes, encoder, transform); a file of rows names them by path and image_id. Rows encoded
so far are published as parts beside the output, so that a kill loses little.
Shapes: N images or references, V views.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS
from visionfm.errors import ArtifactError, Problems

log = logging.getLogger("visionfm")


class RowIdentity(NamedTuple):
    """What a row depends on beside the image's bytes and the view; stands in each cache file's attributes."""

    encoder_sha256: str
    transform: str
    blocks: str  # JSON list of block indices, 0-based, shallow to deep
    precision: str
    dtype: str

    def attributes(self) -> dict[str, str]:
        """Return the attributes of a cache file that holds such rows."""
        return dict(self._asdict())

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "RowIdentity":
        """Return what a cache file's attributes say; LookupError or ValueError where they do not."""
        found = cls(**{name: metadata[name] for name in cls._fields})
        if not all(type(block) is int for block in json.loads(found.blocks)):
            raise ValueError(f"blocks {found.blocks}")
        return found


class Names(NamedTuple):
    """What the rows of a file are called."""

    paths: list[str]
    image_ids: list[str]
    views: tuple[str, ...]

    def columns(self) -> dict[str, list[str]]:
        """Return them as the file holds them."""
        return {"path": self.paths, "image_id": self.image_ids, "view": list(self.views)}

    @classmethod
    def of(cls, arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], path: Path) -> "Names":
        """Return those among a file's arrays; ArtifactError unless the `shapes` of all others begin with (N, V)."""
        names = cls(list(arrays["path"]), list(arrays["image_id"]), tuple(arrays["view"]))
        rows = (len(names.paths), len(names.views))
        if len(names.image_ids) != rows[0] or any(shape[:2] != rows for shape in shapes.values()):
            raise ArtifactError(
                f"{path.name}: its arrays do not fit each other",
                expected=f"{rows[0]} paths x {rows[1]} views in each",
                found=", ".join(f"{name} {shape}" for name, shape in shapes.items())
                + f", {len(names.image_ids)} image_ids",
                where=path,
                do=f"`visionfm forget {path}`, then run again",
            )
        return names


class RowFile(Protocol):
    """A checked file of rows."""

    @property
    def paths(self) -> list[str]:
        """Of the images."""

    @property
    def image_ids(self) -> list[str]:
        """Of the images."""


File = TypeVar("File", bound=RowFile)


class Store(Generic[File]):
    """The files of a task's datasets: a row is found by (dataset, path), and believed if its image_id is right."""

    WHAT: ClassVar[str]  # the rows, in messages
    STAGE: ClassVar[str]  # that makes them

    def __init__(self, files: Mapping[str, Sequence[str | Path]], read: Callable[[str | Path], File]) -> None:
        """`files` maps a dataset to its files (several when it is sharded); each is read, and so checked, now."""
        opened = [(dataset, read(path)) for dataset, paths in files.items() for path in paths]
        self.datasets, self.files = [dataset for dataset, _ in opened], [file for _, file in opened]
        self._rows = {
            (dataset, name): (number, row)
            for number, (dataset, file) in enumerate(opened)
            for row, name in enumerate(file.paths)
        }

    def of(self, dataset: str) -> list[File]:
        """Return the files of one dataset."""
        return [file for name, file in zip(self.datasets, self.files, strict=True) if name == dataset]

    def locate(self, references: Iterable[tuple[str, str, str]]) -> npt.NDArray[np.intp]:
        """Return (N, 2), file and row of each (dataset, path, image_id).

        Raises ArtifactError listing every reference without a row, or whose row was made from other bytes.
        """
        problems = Problems(ArtifactError, f"{self.WHAT} of the samples")
        found = []
        for dataset, path, image_id in references:
            number, row = self._rows.get((dataset, path), (-1, -1))
            if number < 0:
                problems.add(f"{dataset}: {path}: expected a row, found none")
            elif (made_of := self.files[number].image_ids[row]) != image_id:
                problems.add(
                    f"{dataset}: {path}: expected the {self.WHAT} of image {image_id[:12]}, found {made_of[:12]}"
                )
            found.append((number, row))
        problems.raise_if_any(do=f"run `visionfm {self.STAGE}` for these datasets, then `visionfm fuse`")
        return np.array(found, dtype=np.intp).reshape(-1, 2)


class PartFiles:
    """Where the parts of an output lie: in the folder `{out}.parts` beside it, and kept."""

    def __init__(self, out: Path, identity: RowIdentity) -> None:
        """`identity` is that of all rows."""
        self.out, self.identity = out, identity
        self.folder = out.with_name(f"{out.stem}.parts")

    def folders(self) -> list[Path]:
        """Return where parts may lie."""
        kept = artifacts.kept_path(self.folder)
        return [self.folder] if kept is None else [kept, self.folder]

    def files(self) -> list[Path]:
        """Return the parts of this output, this run's and those of runs cut short."""
        return [path for folder in self.folders() for path in sorted(folder.glob("*.h5"))]

    def reusable(self) -> list[Path]:
        """Return all files whose rows may be reused, this output's own first."""
        kept = artifacts.kept_path(self.out)
        files = [path for path in (kept, self.out) if path is not None and path.is_file()] + self.files()
        if kept is not None:
            files += sorted(path for path in kept.parent.glob("*.h5") if path != kept)
            files += sorted(kept.parent.glob("*.parts/*.h5"))
        return list(dict.fromkeys(files))

    def part(
        self, stage: Literal["extract", "dense"], views: Sequence[str], listing: object
    ) -> tuple[Path, artifacts.Provenance]:
        """Return path and provenance of a part.

        Its name is a digest of what it holds, so that several processes never meet in one file.
        """
        settings = {**self.identity.attributes(), "views": list(views)}
        name = hashlib.sha256(json.dumps([settings, listing]).encode()).hexdigest()[:16]
        made_by = artifacts.provenance(stage, settings, {"encoder": self.identity.encoder_sha256})
        return self.folder / f"{name}.h5", made_by

    def remove(self) -> None:
        """Drop the parts, once all their rows stand in the output."""
        for folder in self.folders():
            if folder.exists():
                shutil.rmtree(folder)


def reuse(
    files: Iterable[Path],
    identity: RowIdentity,
    stage: Literal["extract", "dense"],
    schema: str,
    take: Callable[[Path], bool],
) -> None:
    """Give `take` the files with rows of this identity, until it says that it has all.

    A damaged file is named in the log and passed over.
    """
    wanted = {**identity.attributes(), "schema": schema, "version": str(VERSIONS[stage])}
    for path in files:
        try:
            attributes = artifacts.read_metadata(path, verify=False)
            if all(attributes.get(name) == value for name, value in wanted.items()) and take(path):
                return
        except ArtifactError as error:
            log.warning("not reused: %s", error.problem)
