"""Snakemake's own cost: a run whose jobs do nothing, for many pairs of task and model. Wanted: it grows with the pairs.

`python -m bench.bookkeeping [PAIRS ...]` prints a row per number of pairs: seconds of a run, of a second run that has
nothing to do, and what `.snakemake` holds. Stages are played by a shell script that writes what it is told, empty.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from visionfm import artifacts

CHECKOUT = Path(__file__).resolve().parents[1]
TASKS = 10
STAGE = """#!/bin/sh
for word; do
  case $word in
    */summary.md) mkdir -p "${word%/*}"; cp bin/summary.md "$word" ;;
    results/*) [ -e "$word" ] || { mkdir -p "${word%/*}"; : > "$word"; } ;;
  esac
done
"""


def config(models: int) -> dict:
    """Return a config of 10 tasks on one dataset, each by every one of the models."""
    names = [f"m{model:03d}" for model in range(models)]
    encoder = {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"}
    targets = {"sick": {"type": "binary"}}
    task = {"kind": "classification", "datasets": ["d"], "models": names, "targets": targets}
    return {
        "encoders": {f"e_{name}": {**encoder, "seed": seed} for seed, name in enumerate(names)},
        "models": {name: {"Fundus": f"e_{name}"} for name in names},
        "datasets": {"d": {"modality": "Fundus", "root": "d", "layout": "imagefolder", "labels": ["sick"]}},
        "tasks": {f"t{task_number}": task for task_number in range(TASKS)},
    }


def measured(pairs: int) -> str:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(yaml.safe_dump(config(pairs // TASKS)))
        (folder / "d").mkdir()
        (folder / "bin").mkdir()
        # The run ends with the report's summary, which is read.
        artifacts.write_text(folder / "bin/summary.md", "", artifacts.provenance("report", {}, {}), schema="none")
        (folder / "bin/visionfm").write_text(STAGE)
        (folder / "bin/visionfm").chmod(0o755)
        first, said = _run(folder)
        jobs = next(line.split()[1] for line in said.splitlines() if line.startswith("total"))
        again, said = _run(folder)
        if "Nothing to be done" not in said:
            sys.exit(said)
        stored = sum(path.stat().st_size for path in (folder / ".snakemake").rglob("*") if path.is_file())
    return f"{pairs} | {jobs} | {first:.0f} s | {again:.0f} s | {stored / 1e6:.1f} MB"


def _run(folder: Path) -> tuple[float, str]:
    command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "config.yaml"), "--cores", "2", "--quiet", "rules"]
    started = time.perf_counter()
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started, done.stdout + done.stderr


def main() -> None:
    """Print the table."""
    print("pairs | jobs | run | again | .snakemake", flush=True)
    for pairs in map(int, sys.argv[1:] or ("20", "100")):
        print(measured(pairs), flush=True)


if __name__ == "__main__":
    main()
