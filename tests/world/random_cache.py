"""A cache of random features."""

from pathlib import Path

import numpy as np

from visionfm import artifacts
from visionfm.features.cache import write_cache
from visionfm.features.rows import Names, RowIdentity

IDENTITY = RowIdentity("e" * 64, "square224-bilinear-fast", "[8, 9, 10, 11]", "fp32", "float16")
TAPS, WIDTH = 4, 6


def write(
    path: Path, names: list[str], views: tuple[str, ...] = ("identity",), width: int = WIDTH, seed: int = 0
) -> Path:
    generator = np.random.default_rng(seed)
    shape = (len(names), len(views))
    cls_NVLD = generator.standard_normal((*shape, TAPS, width)).astype(np.float16)
    patch_mean_NVD = generator.standard_normal((*shape, width)).astype(np.float16)
    made_by = artifacts.provenance("extract", {"seed": seed}, {})
    called = Names(names, [f"id-{name}" for name in names], views)
    write_cache(path, called, (cls_NVLD, patch_mean_NVD), IDENTITY, made_by)
    return path
