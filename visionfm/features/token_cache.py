"""The cache of patch tokens `results/features/{encoder}/{dataset}.dense{size}.h5`, read a row at a time.

Datasets: `patches` (N, V, L, P, D), `path` and `image_id` (N), `view` (V) names; attribute `streamed`: "true" where the
tokens are over the budget, there are no rows, and training encodes in its loop.
Shapes: N images, V views, L levels (shallow to deep), P patches (row-major), D width.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.large import Layout, mapped, writing
from visionfm.errors import ArtifactError
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


class TokenStore(DenseStore):
    """The caches as heads on patch tokens read them: a row is an image's tokens, flat (L * P * D numbers, float32)."""

    views: tuple[str, ...] = VIEWS[:1]

    def __init__(self, files: Mapping[str, Sequence[str | Path]]) -> None:
        """Raises ArtifactError where tokens were over the budget and not cached, or shapes differ."""
        super().__init__(files)
        if streamed := [dataset for dataset in self.datasets if self.streamed(dataset)]:
            raise ArtifactError(
                "the patch tokens of a dataset are not cached, for they are over the budget",
                expected="caches with rows",
                found=", ".join(dict.fromkeys(streamed)),
                do="use `head: linear`, fewer images, or a smaller `image_size` of the encoder",
            )
        shapes = {file.patches_NVLPD.shape[2:] for file in self.files if file.paths}
        if len(shapes) != 1:
            raise ArtifactError(
                "the encoders of these datasets give patch tokens of different shapes",
                expected="one shape: levels, patches, width",
                found=", ".join(map(str, sorted(shapes))) or "no rows",
                do="use encoders of one architecture and size",
            )
        self.shape_LPD: tuple[int, int, int] = next(iter(shapes))

    def width(self, features: str, dataset: str | None = None) -> int:
        """Return L * P * D."""
        return math.prod(self.shape_LPD)

    def gather(
        self, references: Sequence[tuple[str, str, str]], features: str, views: Sequence[str] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return tokens_NVF (float32) of (dataset, path, image_id) references; see `FeatureStore.gather`."""
        wanted = tuple(self.views if views is None else views)
        if unknown := [view for view in wanted if any(view not in file.views for file in self.files)]:
            raise ArtifactError(
                "the caches of patch tokens lack views",
                expected=", ".join(wanted),
                found=f"no {', '.join(unknown)}",
                do="leave out `tta: flips`",
            )
        tokens_NVF = np.empty((len(references), len(wanted), self.width(features)), np.float32)
        for n, (number, row) in enumerate(self.locate(references)):
            for v, view in enumerate(wanted):
                tokens_NVF[n, v] = self.files[number].row(row, view).reshape(-1)
        return tokens_NVF


def in_order(views: Iterable[str]) -> tuple[str, ...]:
    """Return views in the published order."""
    chosen = set(views)
    return tuple(view for view in VIEWS if view in chosen)
