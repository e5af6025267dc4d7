"""Peak memory of stages as their rows grow, on fabricated inputs: `python -m bench.memory [STAGE=ROWS ...]`.

Prints a row per stage: CPU seconds and peak memory, start-up among them. Each stage is a process of its own, one at a
time. What handles tables alone is in `bench.tables`, heads in `bench.training`.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.training import IDENTITY, TARGETS, VIEWS, fabricate, measured
from visionfm import artifacts
from visionfm.artifacts.versions import VERSIONS
from visionfm.config.recipe import read_recipe
from visionfm.features import cache, rows
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.tasks.settings import TrainSettings
from visionfm.tasks.vectors.recipe import SOUND, Recipe

ARCH, TAPS, WIDTH = "vit_tiny_patch16_224", 4, 192


def run(*words: str | Path) -> None:
    """Run a stage that is not measured."""
    subprocess.run([sys.executable, "-m", "visionfm", *map(str, words)], check=True, capture_output=True)


def plan(kind: str = "classification", target: str = "binary") -> Plan:
    """Return the plan of one dataset, one encoder, one task."""
    columns = {"image": "file", "subject": "person", "targets": {"sick": "level"}}
    dataset = {"modality": "Fundus", "root": "d", "layout": "table", "table": "labels.csv", "columns": columns}
    encoder = {"modality": "Fundus", "weights": "random", "arch": ARCH}
    task = {"kind": kind, "datasets": ["d"], "models": ["m"], "targets": {"sick": {"type": target}}, "baselines": []}
    return Plan(
        Config.model_validate(
            {
                "encoders": {"e": encoder},
                "models": {"m": {"Fundus": "e"}},
                "datasets": {"d": dataset},
                "tasks": {"t": task},
            }
        )
    )


def write_index(of: Plan, count: int) -> tuple[list[str], list[str]]:
    """Write images.parquet and the label table of dataset d; return paths and image ids."""
    paths, ids = [f"{n // 1000:05d}/{n:08d}.png" for n in range(count)], [f"{n:064x}" for n in range(count)]
    number = {name: pa.array(np.full(count, 64), pa.int32()) for name in ("width", "height", "frames", "orientation")}
    text = {name: pa.array([value] * count) for name, value in {"modality": "Fundus", "mode": "RGB"}.items()}
    more = {
        "bytes": pa.array(np.full(count, 9)),
        "mtime_ns": pa.array(np.full(count, 9)),
        "status": pa.array(["ok"] * count),
    }
    table = pa.table({"path": paths, "image_id": ids, **text, **number, **more, "note": pa.nulls(count, pa.string())})
    made_by = artifacts.Provenance("index", VERSIONS["index"], "0" * 64)
    artifacts.write_table(of.images("d")[0], table, made_by, schema="visionfm/images/1", extra={"modality": "Fundus"})
    Path("d").mkdir()
    people = "".join(f"{path},P{n // 4:07d},{n // 8 % 2}\n" for n, path in enumerate(paths))
    Path("d/labels.csv").write_text("file,person,level\n" + people)
    return paths, ids


def write_encoder(of: Plan) -> None:
    """Import random weights."""
    settings = of.encoding.import_settings("e").model_dump_json()
    run("import", "--out", of.encoder("e"), "--settings", settings)


def write_predictions(of: Plan, count: int) -> Path:
    """Write predictions of that many samples, of two people in three tested."""
    rng = np.random.default_rng(0)
    truth_N = (np.arange(count) // 8 % 2).astype(np.float64)
    score_N = 1 / (1 + np.exp(-(2 * truth_N - 1 + rng.standard_normal(count))))
    same = {"dataset": "d", "modalities": "Fundus", "subset": "all", "run": "seed0", "target": "sick"}
    columns = {
        "sample_id": pa.array([f"d/{n:08d}" for n in range(count)]),
        "subject_id": pa.array([f"d/P{n // 4:07d}" for n in range(count)]),
        **{name: pa.array([value] * count) for name, value in same.items()},
        "split": pa.array(np.where(np.arange(count) // 4 % 3 == 0, "validation", "test").tolist()),
        **{name: pa.nulls(count, pa.string()) for name in ("class", "unit")},
        "truth": pa.array(truth_N),
        "scores": pa.array(score_N[:, None].tolist(), pa.list_(pa.float64())),
        "value": pa.nulls(count, pa.float64()),
    }
    out = Path(of.predictions("t", "m", "seed0"))
    made_by = artifacts.provenance("predict", {}, {})
    extra = {"task": "t", "model": "m", "targets": "{}"}
    artifacts.write_table(out, pa.table(columns), made_by, schema="visionfm/predictions/1", extra=extra)
    return out


def extract(count: int) -> str:
    """All rows are in a kept file: the cache is put together anew, and nothing is encoded."""
    of = plan()
    paths, ids = write_index(of, count)
    write_encoder(of)
    settings = of.encoding.extract_settings("e", "d").model_copy(update={"views": list(VIEWS)})
    encoder, out = Path(of.encoder("e")), Path(of.features("e", "d")[0])
    digest = artifacts.payload_digest(encoder)
    identity = IDENTITY._replace(encoder_sha256=digest)
    shape = (count, len(VIEWS), TAPS, WIDTH)
    cls_NVLD = np.random.default_rng(0).standard_normal(shape, np.float32).astype(np.float16)
    made_by = artifacts.provenance("extract", {}, {"encoder": digest})
    kept = out.with_name("other.cls224.h5")
    cache.write_cache(kept, rows.Names(paths, ids, VIEWS), (cls_NVLD, cls_NVLD[:, :, 0]), identity, made_by)
    given = ["--images", of.images("d")[0], "--root", "d", "--encoder", encoder, "--out", out]
    row = measured("extract", *given, "--settings", settings.model_dump_json())
    return f"{row} | file of {out.stat().st_size / 2**20:.0f} MB"


def baseline(name: str) -> Callable[[int], str]:
    """Return what fits a baseline to features of ViT-B, and scores with it."""

    def of_images(count: int) -> str:
        folder = Path()
        fabricate(folder, count)
        recipe = read_recipe(Recipe, SOUND)
        same = {"kind": "classification", "targets": TARGETS, "modalities": ["Fundus"]}
        settings = TrainSettings(**same, recipe_name="sound", recipe=recipe, baseline=name).model_dump_json()
        out = ["--out", "d.safetensors", "--training-out", "d.parquet", "--settings", settings]
        row = measured("train", "--train", "train.parquet", "--features", "d=d.cls224.h5", *out)
        return f"{row} | decoder of {Path('d.safetensors').stat().st_size / 2**20:.1f} MB"

    return of_images


def evaluate(count: int) -> str:
    """One yes-or-no question."""
    of = plan()
    predictions = write_predictions(of, count)
    settings = of.tasks.evaluate_settings("t", "m").model_dump_json()
    return measured("evaluate", "--predictions", predictions, "--out", of.metrics("t", "m"), "--settings", settings)


def report(count: int) -> str:
    """One task and model, all stages before it but the encoder's and the decoder's."""
    from PIL import Image

    of = plan()
    paths, _ = write_index(of, count)
    Image.new("RGB", (64, 64), (90, 40, 20)).save("one.png")
    for path in paths:
        (file := Path("d", path)).parent.mkdir(exist_ok=True)
        os.link("one.png", file)
    write_encoder(of)
    images, labels = ["--images", of.images("d")[0]], of.labels("d")
    run("label", "--root", "d", *images, "--out", labels, "--settings", of.data.label_settings("d").model_dump_json())
    named = ["--images", f"d={of.images('d')[0]}", "--labels", f"d={labels}", "--out", of.audit("t")]
    run("audit", *named, "--settings", of.data.audit_settings("t").model_dump_json())
    out = ["--out", of.samples("t", "m"), "--train-out", of.train_table("t", "m")]
    fused = of.tasks.fuse_settings("t").model_dump_json()
    run("fuse", "--labels", f"d={labels}", "--audit", of.audit("t"), *out, "--settings", fused)
    predictions = write_predictions(of, count)
    curves = {name: np.linspace(1, 0.5, 30) for name in ("train_loss", "validation_loss")}
    curves |= {"epoch": np.arange(1, 31), "best": np.arange(1, 31) == 30}
    curves |= {name: np.full(30, count // 2) for name in ("n_train", "n_train_subjects")}
    made_by = artifacts.provenance("train", {}, {})
    artifacts.write_table(of.training("t", "m", "seed0"), pa.table(curves), made_by, schema="visionfm/training/1")
    asked = of.tasks.evaluate_settings("t", "m").model_dump_json()
    run("evaluate", "--predictions", predictions, "--out", of.metrics("t", "m"), "--settings", asked)
    folder = Path("results/report")
    written = ["--out", folder / "index.html", "--summary-out", folder / "summary.md"]
    written += ["--metrics-out", folder / "metrics.parquet", "--figures-out", folder / "figures.zip"]
    row = measured("report", *written, "--settings", of.report_settings().model_dump_json())
    return f"{row} | page of {(folder / 'index.html').stat().st_size / 1e6:.1f} MB"


STAGES = {
    "extract": (extract, 40_000),
    "knn": (baseline("knn"), 10_000),
    "logreg": (baseline("logreg"), 10_000),
    "evaluate": (evaluate, 1_000_000),
    "report": (report, 60_000),
}


def main() -> None:
    """Print the table."""
    asked = dict(one.partition("=")[::2] for one in sys.argv[1:]) or dict.fromkeys(STAGES, "")
    print("stage | rows | CPU | peak memory", flush=True)
    for name, count in asked.items():
        stage, usual = STAGES[name]
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            print(f"{name} | {count or usual} | {stage(int(count or usual))}", flush=True)


if __name__ == "__main__":
    main()
