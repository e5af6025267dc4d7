"""Rows of patch tokens encoded so far: held in memory up to a limit, then published, so that a kill loses little.

Shapes: L levels, P patches, D width.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from visionfm.features.rows import Names, PartFiles, RowIdentity, reuse
from visionfm.features.token_cache import SCHEMA, DenseFile, Tokens, read_dense, write_dense

HELD_BYTES, PART_S = 512_000_000, 60.0
Places = dict[tuple[str, str], tuple[DenseFile, int]]  # (image_id, view) -> file and row


class TokenParts(PartFiles):
    """What one run of the stage has encoded and not yet put together."""

    def __init__(self, out: Path, identity: RowIdentity, shape_LPD: tuple[int, int, int]) -> None:
        """`shape_LPD` is that of all rows."""
        super().__init__(out, identity)
        self.shape_LPD = shape_LPD
        self.held: dict[tuple[str, str], Tokens] = {}
        self._bytes = 0
        self._since = time.monotonic()

    def add(self, image_id: str, view: str, patches_LPD: Tokens) -> None:
        """Hold one row."""
        self.held[image_id, view] = patches_LPD
        self._bytes += patches_LPD.nbytes

    def full(self) -> bool:
        """Tell whether it is time to publish: much is held, or for long."""
        return self._bytes >= HELD_BYTES or (bool(self.held) and time.monotonic() - self._since >= PART_S)

    def publish(self) -> None:
        """Write what is held as one part, and let go of it."""
        if self.held:
            views = list(dict.fromkeys(view for _, view in self.held))
            image_ids = list(dict.fromkeys(image_id for image_id, _ in self.held))
            rows = [
                (n, v, self.held[image_id, view])
                for n, image_id in enumerate(image_ids)
                for v, view in enumerate(views)
            ]
            path, made_by = self.part("dense", views, [[image_id, image_id] for image_id in image_ids])
            names = Names(image_ids, image_ids, tuple(views))
            write_dense(path, names, self.shape_LPD, rows, self.identity, made_by)
        self.held, self._bytes, self._since = {}, 0, time.monotonic()


def find_rows(files: Iterable[Path], image_ids: Collection[str], views: Sequence[str], identity: RowIdentity) -> Places:
    """Return where rows of the same identity lie; a damaged file is named in the log and passed over."""
    needed = {(image_id, view) for image_id in image_ids for view in views}
    found: Places = {}

    def take(path: Path) -> bool:
        cache = read_dense(path, earlier=True)
        for row, image_id in enumerate(cache.image_ids):
            for view in cache.views:
                if (image_id, view) in needed:
                    found.setdefault((image_id, view), (cache, row))
        return len(found) == len(needed)

    reuse(files, identity, "dense", SCHEMA, take)
    return found
