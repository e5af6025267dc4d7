"""Heads on cached features load torch, and nothing as heavy beside it: not timm, not torch's compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
from world.decoder_data import (
    BINARY,
    image,
    planted,
    predict_settings,
    splits_of,
    train_settings,
    write_cache,
    write_samples,
)

COUNT = 60
# pandas is loaded by pyarrow, for any list that becomes a column.
HEAVY = ("timm", "torchvision", "sympy", "torch._dynamo", "torch._inductor", "sklearn", "scipy", "matplotlib")
STAGE = f"""
import sys
from visionfm.cli import main
code = main(sys.argv[1:])
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert "torch" in sys.modules and not loaded, loaded
sys.exit(code)
"""


def run(*words: str | Path) -> None:
    ended = subprocess.run([sys.executable, "-c", STAGE, *map(str, words)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("baseline", [None, "knn"])
def test_heads_on_cached_features_are_trained_and_applied_without_heavy_libraries(
    baseline: str | None, results: Path
) -> None:
    cls_NVLD, patch_mean_NVD, hidden_N = planted(COUNT)
    cache = write_cache(results / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)
    labels = {"sick": (hidden_N > 0) * 1.0}
    images = [[image(number)] for number in range(COUNT)]
    write_samples(results / "samples.parquet", images, splits_of(COUNT), labels, BINARY)
    decoder, features = results / "decoder.safetensors", f"eyes={cache}"
    settings = train_settings(epochs=2).model_copy(update={"baseline": baseline}).model_dump_json()
    out = ["--out", decoder, "--training-out", results / "training.parquet", "--settings", settings]
    run("train", "--train", results / "train.parquet", "--features", features, *out)
    out = ["--out", results / "predictions.parquet", "--settings", predict_settings().model_dump_json()]
    run("predict", "--decoder", decoder, "--samples", results / "samples.parquet", "--features", features, *out)
