"""`train` and `predict` of a head on cached features of ViT-B: CPU seconds and peak memory, 1,000 and 10,000 images.

`python -m bench.training [IMAGES ...]`; both stages are processes of their own, so start-up counts. Wanted: torch and
a second more for 1,000 images, 40 KB of memory per image.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from visionfm import artifacts
from visionfm.config.recipe import read_recipe
from visionfm.features import cache, rows
from visionfm.tasks.settings import PredictSettings, TargetSpec, TrainSettings
from visionfm.tasks.vectors.recipe import SOUND, Recipe

VIEWS, TAPS, WIDTH, EPOCHS = ("identity", "h", "v", "hv"), 4, 768, 5
IDENTITY = rows.RowIdentity("0" * 64, "square224-bilinear-fast", "[8, 9, 10, 11]", "fp32", "float16")
TARGETS = {"sick": TargetSpec(type="binary", classes=["no", "yes"])}
MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "visionfm", *sys.argv[1:]], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
sys.exit(done.stderr if done.returncode else 0)
"""


def measured(*words: str | Path) -> str:
    """Run a stage; return its CPU seconds and its peak memory as a row's cells."""
    done = subprocess.run([sys.executable, "-c", MEASURED, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    seconds, megabytes = json.loads(done.stdout)
    return f"{seconds:.1f} s | {megabytes:.0f} MB"


def fabricate(folder: Path, images: int) -> None:
    """Write a cache, samples.parquet and train.parquet of that many images: of ten, seven train and one validates."""
    rng = np.random.default_rng(0)
    names = [f"{number:06}.png" for number in range(images)]
    ids = [f"{name:0>64}" for name in names]
    cls_NVLD = rng.standard_normal((images, len(VIEWS), TAPS, WIDTH), np.float32).astype(np.float16)
    made_by = artifacts.provenance("extract", {}, {})
    arrays = (cls_NVLD, cls_NVLD[:, :, 0])
    cache.write_cache(folder / "d.cls224.h5", rows.Names(names, ids, VIEWS), arrays, IDENTITY, made_by)
    split = ["validation" if n % 10 == 0 else "test" if n % 10 < 3 else "train" for n in range(images)]
    of = [
        {"modality": "Fundus", "dataset": "d", "path": name, "image_id": id_}
        for name, id_ in zip(names, ids, strict=True)
    ]
    columns = {name: pa.array(names) for name in ("sample_id", "subject_id")}
    columns |= {name: pa.nulls(images, pa.string()) for name in ("eye", "visit")}
    columns |= {
        "dataset": pa.array(["d"] * images),
        "split": pa.array(split),
        "images": pa.array([[one] for one in of]),
    }
    table = pa.table(columns | {"sick": pa.array((cls_NVLD[:, 0, 0, 0] > 0).astype(np.float64))})
    extra = {"targets": json.dumps({name: target.model_dump() for name, target in TARGETS.items()})}
    extra |= {"modalities": '["Fundus"]', "fusion": "pooled", "unit": "image"}
    training = table.filter(pa.array([name != "test" for name in split]))
    for name, rows_ in (("samples", table), ("train", training)):
        artifacts.write_table(folder / f"{name}.parquet", rows_, made_by, schema="visionfm/samples/1", extra=extra)


def main() -> None:
    """Print the table."""
    recipe = read_recipe(Recipe, SOUND).model_copy(update={"epochs": EPOCHS})
    same = {"kind": "classification", "targets": TARGETS, "modalities": ["Fundus"]}
    train = TrainSettings(**same, recipe_name="sound", recipe=recipe).model_dump_json()
    predict = PredictSettings(**same, task="t", model="m", run="seed0").model_dump_json()
    print("stage | images | CPU | peak memory", flush=True)
    for images in map(int, sys.argv[1:] or ("1000", "10000")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fabricate(folder, images)
            features = ["--features", f"d={folder / 'd.cls224.h5'}"]
            out = ["--out", folder / "d.safetensors", "--training-out", folder / "d.parquet", "--settings", train]
            for what in ("train", "train, unchanged"):
                row = measured("train", "--train", folder / "train.parquet", *features, *out)
                print(f"{what} | {images} | {row}", flush=True)
            given = ["--decoder", folder / "d.safetensors", "--samples", folder / "samples.parquet", *features]
            row = measured("predict", *given, "--out", folder / "p.parquet", "--settings", predict)
            print(f"predict | {images} | {row}", flush=True)


if __name__ == "__main__":
    main()
