"""The rows of feature vectors of a set of images: found in kept files, added when encoded, taken in any order.

Shapes: U different images (by image_id), N rows of a file, V views, L taps, D width.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from visionfm import artifacts
from visionfm.errors import ArtifactError
from visionfm.features import cache
from visionfm.features.cache import Rows
from visionfm.features.rows import Names, PartFiles, RowIdentity, reuse


class RowBank:
    """The rows of a set of images, filled from files and from the encoder."""

    def __init__(
        self,
        image_ids: Iterable[str],
        views: Sequence[str],
        dtype: str,
        taps: int,
        width: int,
        mean_width: int | None = None,
    ) -> None:
        """Make room for each different image of `image_ids` in `views`; `dtype` is float16 or float32, shape L, D.

        `mean_width` is that of the patch mean, where it is not D.
        """
        self.views = tuple(views)
        self._row_of = {image_id: row for row, image_id in enumerate(dict.fromkeys(image_ids))}
        self._have_UV = np.zeros((len(self._row_of), len(self.views)), bool)
        self._cls_UVLD = np.zeros((*self._have_UV.shape, taps, width), dtype)
        self._patch_mean_UVD = np.zeros((*self._have_UV.shape, mean_width or width), dtype)

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
        if list(self._row_of) == list(image_ids):  # no file stands twice in the folder: the rows need no copy
            return self._cls_UVLD, self._patch_mean_UVD
        rows = np.array([self._row_of[image_id] for image_id in image_ids], dtype=np.intp)
        return self._cls_UVLD[rows], self._patch_mean_UVD[rows]

    def fill_from(self, files: Iterable[Path], identity: RowIdentity) -> None:
        """Take over rows of the same identity; a damaged file is named in the log and passed over."""
        if not self._have_UV.all():
            reuse(files, identity, "extract", cache.SCHEMA, self._take_over)

    def _take_over(self, path: Path) -> bool:
        """Take a file's rows; tell whether none is missing any more."""
        names, _ = artifacts.read_hdf5(path, ("image_id", "view"), earlier=True)
        useful_V = [self.views.index(view) for view in names["view"] if view in self.views]
        useful_U = [self._row_of[image_id] for image_id in names["image_id"] if image_id in self._row_of]
        if not self._have_UV[np.ix_(useful_U, useful_V)].all():
            found = cache.read_cache(path, earlier=True)
            self.put(found.image_ids, found.views, (found.cls_NVLD, found.patch_mean_NVD))
        return bool(self._have_UV.all())


class VectorParts(PartFiles):
    """Rows of feature vectors encoded so far."""

    def publish(self, image_ids: Sequence[str], views: Sequence[str], rows: Rows) -> None:
        """Write one part."""
        path, made_by = self.part("extract", views, list(image_ids))
        # Parts are found by image_id; one image may stand at several paths, which only the whole file knows.
        names = Names(list(image_ids), list(image_ids), tuple(views))
        cache.write_cache(path, names, rows, self.identity, made_by)
