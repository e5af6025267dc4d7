"""Rows of patch tokens encoded so far: held in memory up to a limit, then published, so that a kill loses little.

Shapes: L levels, P patches, D width.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS
from visionfm.errors import ArtifactError
from visionfm.features.rows import RowIdentity
from visionfm.features.token_cache import SCHEMA, DenseFile, Tokens, read_dense, write_dense

HELD_BYTES, PART_S = 512_000_000, 60.0
log = logging.getLogger("visionfm")
Places = dict[tuple[str, str], tuple[DenseFile, int]]  # (image_id, view) -> file and row


class Parts:
    """What one run of the stage has encoded and not yet put together."""

    def __init__(self, out: Path, identity: RowIdentity, shape_LPD: tuple[int, int, int]) -> None:
        """Parts of `out` go to the folder `{out}.parts` beside it."""
        self.out, self.identity, self.shape_LPD = out, identity, shape_LPD
        self.folder = out.with_name(f"{out.stem}.parts")
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
        """Write what is held as one part, named by a digest of what it holds, and let go of it."""
        if self.held:
            views = list(dict.fromkeys(view for _, view in self.held))
            images = [(image_id, image_id) for image_id in dict.fromkeys(image_id for image_id, _ in self.held)]
            settings = {**self.identity.attributes(), "views": views}
            name = hashlib.sha256(json.dumps([settings, images]).encode()).hexdigest()[:16]
            made_by = artifacts.provenance("dense", settings, {"encoder": self.identity.encoder_sha256})
            rows = [
                (n, v, self.held[image_id, view])
                for n, (image_id, _) in enumerate(images)
                for v, view in enumerate(views)
            ]
            write_dense(self.folder / f"{name}.h5", images, views, self.shape_LPD, rows, self.identity, made_by)
        self.held, self._bytes, self._since = {}, 0, time.monotonic()

    def files(self) -> list[Path]:
        """Return the parts of this output, this run's and those of runs cut short."""
        kept = artifacts.kept_path(self.folder)
        folders = [self.folder] if kept is None else [kept, self.folder]
        return [path for folder in folders for path in sorted(folder.glob("*.h5"))]

    def reusable(self) -> list[Path]:
        """Return all files whose rows may be reused, this output's own first."""
        kept = artifacts.kept_path(self.out)
        files = [path for path in (kept, self.out) if path is not None and path.is_file()] + self.files()
        if kept is not None:
            files += sorted(path for path in kept.parent.glob("*.h5") if path != kept)
            files += sorted(kept.parent.glob("*.parts/*.h5"))
        return list(dict.fromkeys(files))

    def remove(self) -> None:
        """Drop the parts, once all their rows stand in the output."""
        for path in (self.folder, artifacts.kept_path(self.folder)):
            if path is not None and path.exists():
                shutil.rmtree(path)


def find_rows(
    files: Iterable[Path], wanted: Mapping[str, str] | Sequence[str], views: Sequence[str], identity: RowIdentity
) -> Places:
    """Return where rows of the same identity lie; a damaged file is named in the log and passed over."""
    needed = {(image_id, view) for image_id in wanted for view in views}
    found: Places = {}
    for path in files:
        if len(found) == len(needed):
            break
        try:
            attributes = artifacts.read_metadata(path, verify=False)
            same = {**identity.attributes(), "schema": SCHEMA, "version": str(VERSIONS["dense"])}
            if any(attributes.get(name) != value for name, value in same.items()):
                continue
            cache = read_dense(path)
        except ArtifactError as error:
            log.warning("not reused: %s", error.problem)
            continue
        for row, image_id in enumerate(cache.image_ids):
            for view in cache.views:
                if (image_id, view) in needed:
                    found.setdefault((image_id, view), (cache, row))
    return found
