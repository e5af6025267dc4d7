"""How much memory a job takes for the rows that its inputs have: more than its rule's own limit, where they are many.

Snakemake asks for a dry run, when nothing is there, and again when a job is about to start: its inputs are there then.
"""

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from visionfm.encoders.file import TAPS
from visionfm.features.settings import ExtractSettings


class Held(NamedTuple):
    """What a stage holds for each row of the tables that it reads, for its caches as a multiple of them, and beside."""

    row_bytes: int
    cache_times: float = 0
    beside_mb: int = 500


# Measured (bench/RESULTS.md: `bench.tables`, `bench.memory`, `bench.training`), and rounded up.
HELD = {
    "label": Held(2_500),
    "audit": Held(800),
    "fuse": Held(2_500),
    "evaluate": Held(1_500),
    "compare": Held(1_500),
    "contrast": Held(4_000),
    "recalibrate": Held(1_500),
    "report": Held(2_000),
    "paper": Held(2_000),
    "pretrain": Held(1_200, beside_mb=8_000),
    "train": Held(1_000, 3.2, 1_000),
    "predict": Held(1_000, 3.2, 1_000),
    "locate": Held(4_000, 3.2, 1_000),
    "suspect": Held(8_000),
}
WIDEST, FILE_TIMES, ENCODING_MB = 1024, 2.5, 2_000  # features of ViT-L; `extract` holds its file so many times


def held_mb(stage: str, files: Iterable[str], processes: int = 1, *, tokens: bool = False) -> int:
    """Return how many MB a stage takes for what it reads; files that are not there yet count nothing.

    `tokens`: a head on vectors reads patch tokens, all of them at once; heads on maps read them a row at a time.
    """
    held, there = HELD[stage], [path for path in map(Path, files) if path.is_file()]
    rows = sum(_rows(path, path.stat().st_mtime_ns) for path in there if path.suffix == ".parquet")
    kinds = (".cls", ".dense") if tokens else (".cls",)
    caches = sum(path.stat().st_size for path in there if path.suffix == ".h5" and any(k in path.name for k in kinds))
    return held.beside_mb + math.ceil(processes * (rows * held.row_bytes + caches * held.cache_times) / 1e6)


def extract_mb(settings: ExtractSettings, images: str) -> int:
    """Return how many MB `extract` takes for the images of an index, whose features are at most of ViT-L's width."""
    path = Path(images)
    rows = min(settings.max_rows, _rows(path, path.stat().st_mtime_ns)) if path.is_file() else 0
    row_bytes = len(settings.views) * (TAPS + 1) * WIDEST * (2 if settings.dtype == "float16" else 4)
    return ENCODING_MB + math.ceil(rows * row_bytes * FILE_TIMES / 1e6)


@cache
def _rows(table: Path, mtime_ns: int) -> int:
    """Return how many rows a table has; 0 where it cannot be read, which is for the stage to say."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(table).num_rows)
    except (OSError, pa.ArrowInvalid):
        return 0
