"""Feature rows by (image bytes, encoder, transform): found in kept files, added when encoded, taken in any order.

Reads every cache file beside the output's kept copy, and the part files of runs that were cut short.
Shapes: U different images (by image_id), N rows of a file, V views, L taps, D width.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS
from visionfm.errors import ArtifactError
from visionfm.features import cache

log = logging.getLogger("visionfm")
Rows = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # cls_NVLD, patch_mean_NVD


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


class RowBank:
    """The rows of a set of images, filled from files and from the encoder."""

    def __init__(self, image_ids: Iterable[str], views: Sequence[str], dtype: str, taps: int, width: int) -> None:
        """Make room for each different image of `image_ids` in `views`; `dtype` is float16 or float32, shape L, D."""
        self.views = tuple(views)
        self._row_of = {image_id: row for row, image_id in enumerate(dict.fromkeys(image_ids))}
        self._have_UV = np.zeros((len(self._row_of), len(self.views)), bool)
        self._cls_UVLD = np.zeros((*self._have_UV.shape, taps, width), dtype)
        self._patch_mean_UVD = np.zeros((*self._have_UV.shape, width), dtype)

    def put(
        self,
        image_ids: Sequence[str],
        views: Sequence[str],
        rows: Rows,
    ) -> None:
        """Add rows; images and views that are not wanted are passed over."""
        wanted_N = [n for n, image_id in enumerate(image_ids) if image_id in self._row_of]
        wanted_V = [v for v, view in enumerate(views) if view in self.views]
        if not wanted_N or not wanted_V:
            return
        at_U = np.array([self._row_of[image_ids[n]] for n in wanted_N])
        cls_NVLD, patch_mean_NVD = rows
        source = slice(None) if len(wanted_N) == len(image_ids) else wanted_N  # a whole file needs no copy on the way
        for v in wanted_V:
            at_V = self.views.index(views[v])
            self._cls_UVLD[at_U, at_V] = cls_NVLD[source, v]
            self._patch_mean_UVD[at_U, at_V] = patch_mean_NVD[source, v]
            self._have_UV[at_U, at_V] = True

    def missing(self) -> dict[tuple[str, ...], list[str]]:
        """Return the image_ids that lack rows, in order, by the views they lack."""
        groups: dict[tuple[str, ...], list[str]] = {}
        image_ids = list(self._row_of)
        for row in np.flatnonzero(~self._have_UV.all(1)):
            lacks = tuple(view for view, have in zip(self.views, self._have_UV[row], strict=True) if not have)
            groups.setdefault(lacks, []).append(image_ids[row])
        return groups

    def take(self, image_ids: Sequence[str]) -> Rows:
        """Return the rows of images in the order given; all must be there."""
        if lacking := sum(len(ids) for ids in self.missing().values()):
            raise ArtifactError(
                "features got lost while they were put together",
                expected=f"{len(self._row_of)} images",
                found=f"{len(self._row_of) - lacking}",
                do="run the same command again; another run may have cleaned up the part files",
            )
        rows = np.array([self._row_of[image_id] for image_id in image_ids], dtype=np.intp)
        return self._cls_UVLD[rows], self._patch_mean_UVD[rows]

    def fill_from(self, files: Iterable[Path], identity: RowIdentity) -> None:
        """Take over rows of the same identity; a damaged file is named in the log and passed over."""
        for path in files:
            if self._have_UV.all():
                return
            try:
                self._fill_from_file(path, identity)
            except ArtifactError as error:
                log.warning("not reused: %s", error.problem)

    def _fill_from_file(self, path: Path, identity: RowIdentity) -> None:
        attributes = artifacts.read_metadata(path, verify=False)
        wanted = {**identity.attributes(), "version": str(VERSIONS["extract"])}
        if any(attributes.get(name) != value for name, value in wanted.items()):
            return
        names, _ = artifacts.read_hdf5(path, ("image_id", "view"))
        useful_V = [self.views.index(view) for view in names["view"] if view in self.views]
        useful_U = [self._row_of[image_id] for image_id in names["image_id"] if image_id in self._row_of]
        if not self._have_UV[np.ix_(useful_U, useful_V)].all():
            found = cache.read_cache(path)
            self.put(found.image_ids, found.views, (found.cls_NVLD, found.patch_mean_NVD))


class PartFiles:
    """Rows encoded so far, published beside the output so that a kill loses little; the next run finds them."""

    def __init__(self, out: Path, identity: RowIdentity) -> None:
        """Parts of `out` go to the folder `{out}.parts`."""
        self.out = out
        self.identity = identity
        self.folder = out.with_name(f"{out.stem}.parts")

    def folders(self) -> list[Path]:
        """Return where parts may lie: beside the output, and kept."""
        kept = artifacts.kept_path(self.folder)
        return [self.folder] if kept is None else [kept, self.folder]

    def reusable(self) -> list[Path]:
        """Return all files whose rows may be reused, this output's own first."""
        kept = artifacts.kept_path(self.out)
        files = [path for path in (kept, self.out) if path is not None and path.is_file()]
        for folder in self.folders():
            files += sorted(folder.glob("*.h5"))
        if kept is not None:
            files += sorted(path for path in kept.parent.glob("*.h5") if path != kept)
            files += sorted(kept.parent.glob("*.parts/*.h5"))
        return list(dict.fromkeys(files))

    def publish(
        self,
        image_ids: Sequence[str],
        views: Sequence[str],
        rows: Rows,
    ) -> None:
        """Write one part. Its name is a digest of what it holds, so that several processes never meet in one file."""
        settings = {**self.identity.attributes(), "views": list(views)}
        name = hashlib.sha256(json.dumps([settings, list(image_ids)]).encode()).hexdigest()[:16]
        write_cache(
            self.folder / f"{name}.h5",
            # Parts are found by image_id; one image may stand at several paths, which only the whole file knows.
            list(image_ids),
            list(image_ids),
            views,
            rows,
            self.identity,
            artifacts.provenance("extract", settings, {"encoder": self.identity.encoder_sha256}),
        )

    def remove(self) -> None:
        """Drop the parts, once all their rows stand in the output."""
        for folder in self.folders():
            if folder.exists():
                shutil.rmtree(folder)


def write_cache(
    path: Path,
    paths: Sequence[str],
    image_ids: Sequence[str],
    views: Sequence[str],
    rows: Rows,
    identity: RowIdentity,
    made_by: artifacts.Provenance,
) -> None:
    """Publish a cache file."""
    arrays = {
        "cls": rows[0],
        "patch_mean": rows[1],
        "path": list(paths),
        "image_id": list(image_ids),
        "view": list(views),
    }
    artifacts.write_hdf5(path, arrays, made_by, schema=cache.SCHEMA, extra=identity.attributes())
