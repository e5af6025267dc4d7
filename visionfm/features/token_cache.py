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
from visionfm.features.rows import Names, RowIdentity, Store
from visionfm.images.transforms import VIEWS

SCHEMA = "visionfm/dense/1"
Tokens = npt.NDArray[Any]


class DenseFile(NamedTuple):
    """One cache file; its rows stay on the disk."""

    patches_NVLPD: Tokens
    paths: list[str]
    image_ids: list[str]
    views: tuple[str, ...]
    metadata: dict[str, str]

    @property
    def streamed(self) -> bool:
        """Whether its tokens are to be computed where they are needed."""
        return self.metadata["streamed"] == "true"

    def row(self, row: int, view: str) -> Tokens:
        """Return patches_LPD of one image in one view, mapped."""
        patches_LPD: Tokens = self.patches_NVLPD[row, self.views.index(view)]
        return patches_LPD


def read_dense(path: str | Path, earlier: bool = False) -> DenseFile:
    """Return a cache file, checked; its rows are mapped, not read. `earlier` as in `artifacts.read_metadata`.

    Raises ArtifactError when it is damaged, of another schema, or its arrays do not fit each other.
    """
    path = Path(path)
    metadata = artifacts.read_metadata(path, SCHEMA, earlier=earlier)
    patches_NVLPD = mapped(path, "patches")
    arrays = artifacts.read_hdf5_arrays(path, ("path", "image_id", "view"))
    with artifacts.understood(path):
        if patches_NVLPD.ndim != 5 or metadata["streamed"] not in ("true", "false"):
            raise ValueError(f"patches {patches_NVLPD.shape}, streamed {metadata.get('streamed')}")
        RowIdentity.of(metadata)
        names = Names.of(arrays, {"patches": patches_NVLPD.shape}, path)
    return DenseFile(patches_NVLPD, *names, metadata)


def write_dense(
    path: Path,
    names: Names,
    shape_LPD: tuple[int, int, int],
    rows: Iterable[tuple[int, int, Tokens]],
    identity: RowIdentity,
    made_by: artifacts.Provenance,
    streamed: bool = False,
) -> None:
    """Publish a cache file; `rows` yields (n, v, patches_LPD) of each image and view, in any order."""
    layout = Layout((len(names.paths), len(names.views), *shape_LPD), identity.dtype)
    extra = {**identity.attributes(), "streamed": "true" if streamed else "false"}
    with writing(path, "patches", layout, names.columns(), made_by, schema=SCHEMA, extra=extra) as patches_NVLPD:
        for n, v, patches_LPD in rows:
            patches_NVLPD[n, v] = patches_LPD


class DenseStore(Store[DenseFile]):
    """The caches of a task's datasets."""

    WHAT, STAGE = "patch tokens", "dense"

    def __init__(self, files: Mapping[str, Sequence[str | Path]]) -> None:
        """`files` maps a dataset to its cache files (several when it is sharded); each is checked now."""
        super().__init__(files, read_dense)

    def streamed(self, dataset: str) -> bool:
        """Tell whether a dataset's tokens are computed where they are needed."""
        return any(cache.streamed for cache in self.of(dataset))

    def has_views(self, dataset: str, views: Sequence[str]) -> bool:
        """Tell whether all of a dataset's rows have these views."""
        return all(set(views) <= set(cache.views) for cache in self.of(dataset))

    def tokens(self, dataset: str, path: str, view: str) -> Tokens:
        """Return patches_LPD of one image in one view, as stored."""
        number, row = self._rows[dataset, path]
        return np.array(self.files[number].row(row, view))


def in_order(views: Iterable[str]) -> tuple[str, ...]:
    """Return views in the published order."""
    chosen = set(views)
    return tuple(view for view in VIEWS if view in chosen)
