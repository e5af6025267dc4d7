"""The cache of patch tokens `results/features/{encoder}/{dataset}.dense{size}.h5`, read a row at a time.

Datasets: `patches` (N, V, L, P, D), `path` and `image_id` (N), `view` (V) names; attribute `streamed`: "true" where the
tokens are over the budget, there are no rows, and training encodes in its loop.
Shapes: N images, V views, L levels (shallow to deep), P patches (row-major), D width.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.large import Layout, mapped, writing
from visionfm.errors import ArtifactError, Problems
from visionfm.features.rows import RowIdentity
from visionfm.images.transforms import VIEWS

SCHEMA = "visionfm/dense/1"
Tokens = npt.NDArray[Any]
Place = tuple["DenseFile", int]


class DenseFile(NamedTuple):
    """One cache file; its rows stay on the disk."""

    path: Path
    patches_NVLPD: Tokens
    paths: list[str]
    image_ids: list[str]
    views: tuple[str, ...]
    metadata: dict[str, str]

    @property
    def streamed(self) -> bool:
        """Whether its tokens are to be computed where they are needed."""
        return self.metadata["streamed"] == "true"


def read_dense(path: str | Path, verify: bool = True) -> DenseFile:
    """Return a cache file, checked; its rows are mapped, not read.

    Raises ArtifactError when it is damaged, of another schema, or its arrays do not fit each other.
    """
    path = Path(path)
    metadata = artifacts.read_metadata(path, verify=verify)
    if metadata.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{path.name} is no cache of patch tokens",
            expected=SCHEMA,
            found=metadata.get("schema"),
            where=path,
            do="name another file",
        )
    names = artifacts.read_hdf5_arrays(path, ("path", "image_id", "view"))
    patches_NVLPD = mapped(path, "patches")
    rows = (len(names["path"]), len(names["view"]))
    if patches_NVLPD.shape[:2] != rows or len(names["image_id"]) != rows[0]:
        raise ArtifactError(
            f"{path.name}: its arrays do not fit each other",
            expected=f"{rows[0]} paths x {rows[1]} views",
            found=f"patches {patches_NVLPD.shape}, {len(names['image_id'])} image_ids",
            where=path,
            do=f"`visionfm forget {path}`, then run again",
        )
    return DenseFile(path, patches_NVLPD, list(names["path"]), list(names["image_id"]), tuple(names["view"]), metadata)


def write_dense(
    path: Path,
    images: Sequence[tuple[str, str]],
    views: Sequence[str],
    shape_LPD: tuple[int, int, int],
    rows: Iterable[tuple[int, int, Tokens]],
    identity: RowIdentity,
    made_by: artifacts.Provenance,
    streamed: bool = False,
) -> None:
    """Publish a cache file of (path, image_id) images; `rows` yields (n, v, patches_LPD) of each, in any order."""
    layout = Layout((len(images), len(views), *shape_LPD), identity.dtype)
    small = {
        "path": [name for name, _ in images],
        "image_id": [image_id for _, image_id in images],
        "view": list(views),
    }
    extra = {**identity.attributes(), "streamed": "true" if streamed else "false"}
    with writing(path, "patches", layout, small, made_by, schema=SCHEMA, extra=extra) as patches_NVLPD:
        for n, v, patches_LPD in rows:
            patches_NVLPD[n, v] = patches_LPD


class DenseStore:
    """The caches of a task's datasets; a row is found by (dataset, path) and believed if its image_id is right."""

    def __init__(self, files: Mapping[str, Sequence[str | Path]]) -> None:
        """`files` maps a dataset to its cache files (several when it is sharded); each is checked now."""
        self.files = {dataset: [read_dense(path) for path in paths] for dataset, paths in files.items()}
        self._places: dict[tuple[str, str], Place] = {
            (dataset, name): (cache, row)
            for dataset, caches in self.files.items()
            for cache in caches
            for row, name in enumerate(cache.paths)
        }

    def streamed(self, dataset: str) -> bool:
        """Tell whether a dataset's tokens are computed where they are needed."""
        return any(cache.streamed for cache in self.files[dataset])

    def has_views(self, dataset: str, views: Sequence[str]) -> bool:
        """Tell whether all of a dataset's rows have these views."""
        return all(set(views) <= set(cache.views) for cache in self.files[dataset])

    def check(self, references: Iterable[tuple[str, str, str]]) -> None:
        """Raise ArtifactError listing every (dataset, path, image_id) without a row, or with one of other bytes."""
        problems = Problems(ArtifactError, "patch tokens of the samples")
        for dataset, path, image_id in references:
            place = self._places.get((dataset, path))
            if place is None:
                problems.add(f"{dataset}: {path}: expected a row, found none")
            elif (found := place[0].image_ids[place[1]]) != image_id:
                problems.add(f"{dataset}: {path}: expected the tokens of image {image_id[:12]}, found {found[:12]}")
        problems.raise_if_any(do="run `visionfm dense` for these datasets, then `visionfm fuse`")

    def tokens(self, dataset: str, path: str, view: str) -> Tokens:
        """Return patches_LPD of one image in one view, as stored."""
        cache, row = self._places[dataset, path]
        return np.array(cache.patches_NVLPD[row, cache.views.index(view)])


def in_order(views: Iterable[str]) -> tuple[str, ...]:
    """Return views in the published order."""
    chosen = set(views)
    return tuple(view for view in VIEWS if view in chosen)
