"""What a stage costs when there is nothing to do: 10,000 images already cached, `python -m bench.cached`.

Prints `name | reference | ours | ratio | wanted` (seconds; there is no reference: the published way encodes again), and
fails when torch was imported or an image was encoded.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from visionfm import artifacts
from visionfm.features.cache import write_cache
from visionfm.features.rows import Names, RowIdentity
from visionfm.features.settings import ExtractSettings
from visionfm.images.transforms import VIEWS, transform_name

LIMIT_S = 5.0
STAGE = """
import sys
from visionfm.cli import main
code = main(sys.argv[1:])
print("torch imported" if "torch" in sys.modules else "no torch")
sys.exit(code)
"""


def main() -> None:
    """Time both ways in which a run finds everything done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--views", type=int, default=1, choices=range(1, 5))
    args = parser.parse_args()
    views = list(VIEWS[: args.views])
    print("name | reference | ours | ratio | wanted")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "results"
        image_ids = [f"{number:064x}" for number in range(args.images)]
        encoder = _encoder(folder / "encoders/base/encoder.safetensors")
        _cache(folder / "features/base/old.cls224.h5", image_ids, views, artifacts.payload_digest(encoder))
        # The index holds the images of the cache under another dataset's name: rows are put together anew.
        index = _index(folder / "datasets/new/images.parquet", image_ids)
        out = folder / "features/base/new.cls224.h5"
        settings = ExtractSettings(views=views, device="cpu").model_dump_json()
        flags = ["--images", index, "--root", folder, "--encoder", encoder, "--out", out, "--settings", settings]
        for what in ("another dataset of the same images", "an unchanged run"):
            _run(f"{args.images} images cached, {what}", [str(flag) for flag in flags])


def _run(name: str, flags: list[str]) -> None:
    started = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-c", STAGE, "extract", *flags], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - started
    print(f"{name} | - | {seconds:.2f} s | - | < {LIMIT_S:.0f} s")
    said = finished.stderr + finished.stdout
    if "no torch" not in said or not ("encoded 0," in said or "unchanged" in said):
        raise SystemExit(f"torch was imported or an image encoded:\n{said}")


def _encoder(path: Path) -> Path:
    """Write as much of a ViT-B as a run without encoding looks at."""
    tensors = {f"blocks.{block}.norm1.weight": np.ones(768, np.float32) for block in range(12)}
    tensors |= {"norm.weight": np.ones(768, np.float32), "padding": np.ones(85_000_000, np.float32)}
    artifacts.write_tensors(path, tensors, artifacts.provenance("import", {}, {}), schema="visionfm/encoder/1")
    return path


def _cache(path: Path, image_ids: list[str], views: list[str], encoder_sha256: str) -> None:
    generator = np.random.default_rng(0)
    shape = (len(image_ids), len(views))
    rows = (
        generator.standard_normal((*shape, 4, 768), np.float32).astype(np.float16),
        generator.standard_normal((*shape, 768), np.float32).astype(np.float16),
    )
    default = ExtractSettings()
    transform = transform_name(default.size, default.interpolation, default.exact_decode)
    blocks = json.dumps([8, 9, 10, 11])
    identity = RowIdentity(encoder_sha256, transform, blocks, default.precision, default.dtype)
    paths = [f"{image_id}.jpg" for image_id in image_ids]
    write_cache(path, Names(paths, image_ids, tuple(views)), rows, identity, artifacts.provenance("extract", {}, {}))


def _index(path: Path, image_ids: list[str]) -> Path:
    table = pa.table(
        {
            "path": [f"{image_id}.jpg" for image_id in image_ids],
            "image_id": image_ids,
            "status": ["ok"] * len(image_ids),
        }
    )
    artifacts.write_table(path, table, artifacts.provenance("index", {}, {}), schema="visionfm/images/1")
    return path


if __name__ == "__main__":
    main()
