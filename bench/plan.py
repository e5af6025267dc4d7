"""Parsing and a dry-run of a large config: 50 datasets, 5 models, 20 tasks. Wanted: under 10 s."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
WANTED_S = 10.0
MODALITIES = ("Fundus", "OCT", "FFA", "SlitLamp", "Ultrasound")


def config() -> dict:
    """Return a config of 50 datasets, 5 models of 5 encoders each, and 20 tasks over 5 datasets each."""
    arch = "vit_tiny_patch16_224"
    encoders = {
        f"e{model}_{modality.lower()}": {"modality": modality, "weights": "random", "arch": arch, "seed": model}
        for model in range(5)
        for modality in MODALITIES
    }
    datasets = {
        f"d{i:02d}": {"modality": MODALITIES[i % 5], "root": f"d{i:02d}", "layout": "imagefolder", "labels": ["sick"]}
        for i in range(50)
    }
    models = {f"m{model}": {m: f"e{model}_{m.lower()}" for m in MODALITIES} for model in range(5)}
    task = {"kind": "classification", "models": list(models), "targets": {"sick": {"type": "binary"}}}
    tasks = {f"t{i:02d}": {**task, "datasets": [f"d{(2 * i + k) % 50:02d}" for k in range(5)]} for i in range(20)}
    return {"encoders": encoders, "models": models, "datasets": datasets, "tasks": tasks}


def main() -> None:
    """Print one line; exit 1 where it takes longer than wanted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config()))
        command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", folder]
        command += ["--configfile", str(path), "--cores", "1", "-n", "--quiet", "rules"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    jobs = next(line.split()[1] for line in (done.stdout + done.stderr).splitlines() if line.startswith("total"))
    print("name | measured | wanted")
    print(f"dry-run of 50 datasets, 5 models, 20 tasks ({jobs} jobs) | {seconds:.1f} s | under {WANTED_S:.0f} s")


if __name__ == "__main__":
    main()
