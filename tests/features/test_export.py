"""The flat table says what the cache says, one row per image and view."""

import argparse
from pathlib import Path

import numpy as np
from world.random_cache import TAPS, WIDTH, write

from visionfm import artifacts
from visionfm.features import export
from visionfm.features.cache import read_cache


def run(features: Path, out: Path) -> bytes:
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    export.main(parser.parse_args(["--features", str(features), "--out", str(out)]))
    return out.read_bytes()


def test_each_number_stands_in_its_column(tmp_path: Path) -> None:
    features = write(tmp_path / "a.h5", ["x", "y"], ("identity", "h"))
    run(features, tmp_path / "a.parquet")
    cache = read_cache(features)
    table = artifacts.read_table(tmp_path / "a.parquet")
    assert table.column_names[:5] == ["path", "image_id", "view", "cls_0", "cls_1"]
    assert table.column_names[-1] == f"patch_mean_{WIDTH - 1}"
    assert table.num_columns == 3 + (TAPS + 1) * WIDTH
    assert table["path"].to_pylist() == ["x", "x", "y", "y"]
    assert table["image_id"].to_pylist() == ["id-x", "id-x", "id-y", "id-y"]
    assert table["view"].to_pylist() == ["identity", "h", "identity", "h"]
    for row in range(4):
        n, v = divmod(row, 2)
        found = [table[f"cls_{number}"][row].as_py() for number in range(TAPS * WIDTH)]
        np.testing.assert_array_equal(found, cache.cls_NVLD[n, v].ravel().astype(np.float32))
        found = [table[f"patch_mean_{number}"][row].as_py() for number in range(WIDTH)]
        np.testing.assert_array_equal(found, cache.patch_mean_NVD[n, v].astype(np.float32))
    assert table.schema.metadata[b"transform"] == b"square224-bilinear-fast"


def test_an_unchanged_cache_is_not_exported_again_and_gives_equal_bytes(tmp_path: Path) -> None:
    features = write(tmp_path / "a.h5", ["x"])
    first = run(features, tmp_path / "a.parquet")
    written = (tmp_path / "a.parquet").stat().st_ino
    assert run(features, tmp_path / "a.parquet") == first
    assert (tmp_path / "a.parquet").stat().st_ino == written
    assert run(features, tmp_path / "b.parquet") == first
