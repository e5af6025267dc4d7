"""Stage `export`: a feature cache as a flat Parquet table, for people and programs that read no HDF5.

One row per image and view, in the cache's order: path, image_id, view, `cls_0`.. (blocks shallow to deep, one after the
other), `patch_mean_0`..; float32.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from visionfm import artifacts
from visionfm.features.cache import CacheFile, read_cache

SCHEMA = "visionfm/flat-features/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's flags."""
    parser.add_argument("--features", type=Path, required=True, metavar="FILE", help="a feature cache (.h5)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table to write (.parquet)")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    made_by = artifacts.provenance("export", {}, {"features": artifacts.payload_digest(args.features)})
    if artifacts.recall(args.out, made_by):
        return
    export(read_cache(args.features), args.out, made_by)


def export(cache: CacheFile, out: Path, made_by: artifacts.Provenance) -> None:
    """Publish the table of a cache at `out`."""
    kept = ("encoder_sha256", "transform", "blocks", "precision")
    artifacts.write_table(
        out, flat_table(cache), made_by, schema=SCHEMA, extra={name: cache.metadata[name] for name in kept}
    )


def flat_table(cache: CacheFile) -> Any:
    """Return the `pyarrow.Table` of a cache: N * V rows, 3 + L*D + D columns."""
    import pyarrow as pa

    views = len(cache.views)
    columns: dict[str, Any] = {
        "path": [path for path in cache.paths for _ in range(views)],
        "image_id": [image_id for image_id in cache.image_ids for _ in range(views)],
        "view": list(cache.views) * len(cache.paths),
    }
    for name, values in (("cls", cache.cls_NVLD), ("patch_mean", cache.patch_mean_NVD)):
        # Transposed once: a column of the table is then a contiguous row.
        flat_FR = np.ascontiguousarray(values.reshape(len(columns["path"]), -1).T, dtype=np.float32)
        columns |= {f"{name}_{number}": column for number, column in enumerate(flat_FR)}
    return pa.table(columns)
