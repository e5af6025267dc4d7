"""The feature cache `results/features/{encoder}/{dataset}.cls{size}.h5`: its layout, and the store that reads it.

Datasets: `cls` (N, V, L, D), `patch_mean` (N, V, D), `path` and `image_id` (N), `view` (V) names. Every file is checked
when it is opened; a row is found by (dataset, path) and believed only if its image_id is the expected one.
Shapes: N images or references, V views, L taps (last four blocks, shallow to deep), D width, F features of one view.
"""

import math
import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.large import mapped
from visionfm.errors import ArtifactError
from visionfm.features.rows import Names, RowIdentity, Store
from visionfm.images.transforms import VIEWS

SCHEMA = "visionfm/features/1"
FEATURES = ("cls", "patch_mean", "both", "last_cls")  # in the order in which a width tells what a published file reads
Rows = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # cls_NVLD, patch_mean_NVD
PIECE = 1024  # rows that are taken from a file at once


class CacheFile(NamedTuple):
    """One checked cache file in memory, in the type it is stored in (float16 or float32)."""

    path: Path
    cls_NVLD: npt.NDArray[Any]
    patch_mean_NVD: npt.NDArray[Any]
    paths: list[str]
    image_ids: list[str]
    views: tuple[str, ...]
    metadata: dict[str, str]

    def let_go(self) -> None:
        """Let the system take back the memory of mapped features that were looked at."""
        for array in (self.cls_NVLD, self.patch_mean_NVD):
            if isinstance(array, np.memmap):
                array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def read_cache(path: str | Path, earlier: bool = False) -> CacheFile:
    """Return a cache file whole, checked; `earlier` as in `artifacts.read_metadata`.

    Raises ArtifactError when it is damaged, of another schema, or its arrays do not fit each other.
    """
    arrays, metadata = artifacts.read_hdf5(path, schema=SCHEMA, earlier=earlier)
    return _checked(Path(path), arrays, metadata)


def map_cache(path: str | Path) -> CacheFile:
    """Return a cache file, checked as by `read_cache`; its features are mapped, not read."""
    path = Path(path)
    metadata = artifacts.read_metadata(path, SCHEMA)
    arrays = artifacts.read_hdf5_arrays(path, ("path", "image_id", "view"))
    return _checked(path, arrays | {name: mapped(path, name) for name in ("cls", "patch_mean")}, metadata)


def _checked(path: Path, arrays: Mapping[str, Any], metadata: dict[str, str]) -> CacheFile:
    with artifacts.understood(path):
        cls_NVLD, patch_mean_NVD = arrays["cls"], arrays["patch_mean"]
        of_stages = cls_NVLD.ndim == 4 and cls_NVLD.shape[2] == 1  # their pooled output has a width of its own
        axes = (cls_NVLD.ndim, patch_mean_NVD.ndim)
        if axes != (4, 3) or (not of_stages and cls_NVLD.shape[3] != patch_mean_NVD.shape[2]):
            raise ValueError(f"cls {cls_NVLD.shape}, patch_mean {patch_mean_NVD.shape}")
        RowIdentity.of(metadata)
        names = Names.of(arrays, {"cls": cls_NVLD.shape, "patch_mean": patch_mean_NVD.shape}, path)
    return CacheFile(path, cls_NVLD, patch_mean_NVD, *names, metadata)


def write_cache(path: Path, names: Names, rows: Rows, identity: RowIdentity, made_by: artifacts.Provenance) -> None:
    """Publish a cache file."""
    arrays = {"cls": rows[0], "patch_mean": rows[1], **names.columns()}
    artifacts.write_hdf5(path, arrays, made_by, schema=SCHEMA, extra=identity.attributes())


class FeatureStore(Store[CacheFile]):
    """The caches of a task's datasets, in memory or mapped as stored; rows come out as float32, or as they are stored.

    >>> store = FeatureStore({"idrid": [Path("results/features/fundus/idrid.cls224.h5")]})
    >>> features_NVF = store.gather([("idrid", "a.jpg", "ab12...")], "cls")
    """

    WHAT, STAGE = "features", "extract"

    def __init__(
        self,
        files: Mapping[str, Sequence[str | Path]],
        read: Callable[[str | Path], CacheFile] = read_cache,
        as_stored: bool = False,
    ) -> None:
        """`files` maps a dataset to its cache files (several when it is sharded); each is checked now.

        `read` gives features that stand in no file by the name of what they are of. `as_stored`: rows come out as
        float16 where all files hold that: half the memory, the same numbers.
        """
        super().__init__(files, read)
        half = as_stored and all(cache.cls_NVLD.dtype == np.float16 for cache in self.files)
        self.dtype = np.dtype(np.float16 if half else np.float32)
        if not self.files:
            raise ArtifactError(
                "no feature cache was given", expected="at least one file", do="name the --features files"
            )

    @property
    def views(self) -> tuple[str, ...]:
        """The views that every file has, in the published order; a dataset that is only scored has `identity` alone."""
        return tuple(view for view in VIEWS if all(view in cache.views for cache in self.files))

    def width(self, features: str, dataset: str | None = None) -> int:
        """Return F: L*D for `cls`, D for `last_cls` and `patch_mean`, (L+1)*D for `both`.

        Of a network of stages L is 1, and the patch mean (its own pooled output) has a width of its own.
        Without `dataset` all datasets must agree, else ArtifactError (encoders of different width cannot be pooled).
        """
        widths: dict[str, int] = {}
        for name, cache in zip(self.datasets, self.files, strict=True):
            if cache.paths and dataset in (None, name):
                widths[name] = _width(cache, features)
        if len(set(widths.values())) > 1:
            raise ArtifactError(
                "the encoders of these datasets give features of different widths",
                expected="one width",
                found=", ".join(f"{name}: {width}" for name, width in widths.items()),
                do="use encoders of one architecture, or a fusion that keeps modalities apart",
            )
        if not widths:
            raise ArtifactError(
                "no features to take a width from", expected=dataset or "a cache with rows", found="none"
            )
        return next(iter(widths.values()))

    def gather(
        self,
        references: Sequence[tuple[str, str, str]],
        features: str,
        views: Sequence[str] | None = None,
    ) -> npt.NDArray[Any]:
        """Return features_NVF (of the store's dtype) of (dataset, path, image_id) references, in their order.

        F holds the CLS tokens shallow to deep, then the patch mean. V follows `views`, by default the store's.
        Raises ArtifactError listing every reference without a row, or whose row was made from other bytes.
        """
        wanted = tuple(self.views if views is None else views)
        number_N, row_N = self.locate(references).T
        used = np.unique(number_N)
        width = self.width(features, self.datasets[used[0]] if len(used) else None)
        features_NVF = np.empty((len(references), len(wanted), width), self.dtype)
        for number in used:
            cache = self.files[number]
            if _width(cache, features) != width:
                self.width(features)  # says which differ
            at = np.flatnonzero(number_N == number)
            places = [self._view(cache, view) for view in wanted]
            for start in range(0, len(at), PIECE):
                piece = at[start : start + PIECE]
                for v, view in enumerate(places):
                    features_NVF[piece, v] = _take(cache, row_N[piece], view, features)
                cache.let_go()
        return features_NVF

    def _view(self, cache: CacheFile, view: str) -> int:
        if view not in cache.views:
            raise ArtifactError(
                f"{cache.path.name} lacks a view",
                expected=view,
                found=", ".join(cache.views),
                where=cache.path,
                do="run `visionfm extract` with that view",
            )
        return cache.views.index(view)


def _width(cache: CacheFile, features: str) -> int:
    if features not in FEATURES:
        raise ValueError(f"features: expected one of {FEATURES}, found {features!r}")
    of_cls, of_mean = math.prod(cache.cls_NVLD.shape[2:]), cache.patch_mean_NVD.shape[2]
    widths = {"cls": of_cls, "last_cls": cache.cls_NVLD.shape[3], "patch_mean": of_mean, "both": of_cls + of_mean}
    return int(widths[features])


def _take(cache: CacheFile, rows: npt.NDArray[np.intp], view: int, features: str) -> npt.NDArray[Any]:
    parts: list[npt.NDArray[Any]] = []
    if features == "last_cls":
        parts.append(cache.cls_NVLD[rows, view, -1])
    if features in ("cls", "both"):
        parts.append(cache.cls_NVLD[rows, view].reshape(len(rows), -1))
    if features in ("patch_mean", "both"):
        parts.append(cache.patch_mean_NVD[rows, view])
    return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
