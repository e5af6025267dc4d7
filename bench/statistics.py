"""All statistics of a large study: `evaluate`, `compare`, `contrast` and `recalibrate` of fabricated predictions.

Tasks with five models of 10,000 test samples each (5,000 people with two eyes), on a dataset of its own and an external
one; eyes are groups. Prints CPU seconds of each stage of a task, and peak memory; wanted: 20 tasks in under 120 s of
CPU beside the start of Python, memory under 2 GB.

    python -m bench.statistics
"""

import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visionfm import artifacts
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.tasks.predict import SCHEMA

MODELS, SAMPLES, TASKS = 5, 10_000, 20
TARGETS = {"yes or no": {"type": "binary"}, "five classes": {"type": "multiclass", "classes": list("abcde")}}


def plan(target: dict[str, Any]) -> Plan:
    """Return the plan of a task on one dataset, with an external one."""
    table = {"modality": "Fundus", "layout": "table", "table": "labels.csv", "columns": {"image": "image"}}
    encoders = {f"e{m}": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"} for m in range(5)}
    task = {"kind": "classification", "datasets": ["own"], "external": ["other"], "models": [f"m{m}" for m in range(5)],
            "baselines": [], "targets": {"sick": target}}  # fmt: skip
    return Plan(Config.model_validate_json(json.dumps({
        "encoders": encoders, "models": {f"m{m}": {"Fundus": f"e{m}"} for m in range(MODELS)},
        "datasets": {name: {**table, "root": name} for name in ("own", "other")}, "tasks": {"t": task},
    })))  # fmt: skip


def fabricate(of: Plan, target: dict[str, Any]) -> None:
    """Write the predictions of all models: 2,000 validation samples, 5,000 test samples of each dataset."""
    rng = np.random.default_rng(0)
    parts = [("own", "validation", 2_000), ("own", "test", SAMPLES // 2), ("other", "test", SAMPLES // 2)]
    count = sum(size for *_, size in parts)
    subject = [f"p{n // 2:05d}" for n in range(count)]
    frequent = [0.4, 0.2, 0.2, 0.1, 0.1] if target["type"] == "multiclass" else [0.7, 0.3]
    truth_N = np.repeat(rng.choice(len(frequent), count // 2, p=frequent), 2) * 1.0
    ease_N = rng.normal(size=count)
    text = {
        "sample_id": [f"s{n:06d}" for n in range(count)], "subject_id": subject,
        "dataset": [dataset for dataset, _, size in parts for _ in range(size)], "modalities": ["Fundus"] * count,
        "subset": ["all"] * count, "split": [split for _, split, size in parts for _ in range(size)],
    }  # fmt: skip
    images = [[{"modality": "Fundus", "dataset": dataset, "path": f"{n}.png", "image_id": f"{n:064x}"}]
              for n, dataset in enumerate(text["dataset"])]  # fmt: skip
    who = {name: text[name] for name in ("sample_id", "subject_id", "dataset", "split")}
    samples = {**who, "eye": ["R", "L"] * (count // 2), "visit": pa.nulls(count, pa.string()), "images": images}
    samples["sick"] = truth_N
    by = artifacts.provenance("fuse", {}, {})
    artifacts.write_table(of.all_samples("t", "m0")[0], pa.table(samples), by, schema="visionfm/samples/1")
    nothing = {name: pa.nulls(count, kind) for name, kind in (("class", pa.string()), ("unit", pa.string()))}
    for m in range(MODELS):
        latent_N = 2 * truth_N - 1.2 + ease_N + rng.normal(size=count) / (1 + m)
        if target["type"] == "multiclass":
            logit_NK = 2 * (truth_N[:, None] == np.arange(5)) + latent_N[:, None] * np.linspace(-1, 1, 5)
            scores = (np.exp(logit_NK) / np.exp(logit_NK).sum(axis=1, keepdims=True)).tolist()
        else:
            scores = (1 / (1 + np.exp(-latent_N)))[:, None].tolist()
        columns = {**text, "run": ["seed0"] * count, "target": ["sick"] * count, **nothing, "truth": truth_N,
                   "scores": pa.array(scores), "value": pa.nulls(count, pa.float64())}  # fmt: skip
        made_by = artifacts.provenance("predict", {"model": m}, {})
        artifacts.write_table(of.predictions("t", f"m{m}", "seed0"), pa.table(columns), made_by, schema=SCHEMA)


def stages(of: Plan) -> dict[str, Callable[[], None]]:
    """Return what is measured of a task."""
    from visionfm.artifacts.arguments import by_name
    from visionfm.tasks.compare import compare
    from visionfm.tasks.contrast import contrast
    from visionfm.tasks.evaluate import evaluate
    from visionfm.tasks.recalibrate import recalibrate

    models = of.config.tasks["t"].models
    files = by_name([f"{model}={of.predictions('t', model, 'seed0')}" for model in models], "MODEL")
    samples = Path(of.all_samples("t", models[0])[0])

    def all_models() -> None:
        for model in models:
            settings = of.tasks.evaluate_settings("t", model)
            evaluate([Path(of.predictions("t", model, "seed0"))], Path(of.metrics("t", model)), settings)

    found: dict[str, Callable[[], None]] = {
        "evaluate, 5 models": all_models,
        "compare": lambda: compare(files, Path(of.comparison("t")[0]), of.tasks.compare_settings("t")),
        "contrast": lambda: contrast(files, samples, {}, Path(of.contrasts("t")[0]), of.tasks.contrast_settings("t")),
    }
    if paths := of.recalibrations("t"):  # of a yes or no
        found["recalibrate"] = lambda: recalibrate(files, Path(paths[0]), of.tasks.recalibrate_settings("t"))
    return found


def main() -> None:
    """Print the table."""
    import contextlib

    print("target | stage | CPU of a task | of 20 tasks | peak memory so far")
    for what, target in TARGETS.items():
        of, total = plan(target), 0.0
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            fabricate(of, target)
            for name, run in stages(of).items():
                started = time.process_time()
                run()
                seconds = time.process_time() - started
                total += TASKS * seconds
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"{what} | {name} | {seconds:.2f} s | {TASKS * seconds:.0f} s | {peak:.0f} MB", flush=True)
        print(f"{what} | all | | {total:.0f} s | ", flush=True)


if __name__ == "__main__":
    main()
