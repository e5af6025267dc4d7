"""What the pretraining demo gains, measured on its own DAG: `python -m bench.pretrain_demo FOLDER`.

In FOLDER the eyes of config/examples/pretrain_demo.yaml are drawn once (other eyes with another `--draw`); for each
of `--seeds` the whole example runs in a folder of its own, from images to report, with that seed for the pretrained
and the untrained networks. Compared are the test predictions in its results: AUROC averaged over the signs of a task,
pretrained less untrained. The interval is that of the paired difference, averaged over seeds, from a bootstrap over
subjects.
"""

import argparse
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.pretrain_gain import mean_area, paired

EXAMPLE = Path(__file__).resolve().parents[1] / "config/examples/pretrain_demo.yaml"
RUNS = {"knn": "k-NN", "logreg": "logistic regression", "seed0": "the decoder"}


def drawn(folder: Path, seed: int) -> None:
    """Draw the eyes by the commands in the example's head."""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        command = line.removeprefix("#").split()
        if line.startswith("#") and command[:2] == ["visionfm", "synth"] and not (folder / command[-1]).exists():
            subprocess.run([*command, "--seed", str(seed)], cwd=folder, check=True)


def run(folder: Path, seed: int) -> float:
    """Run the example with a seed; return the minutes it took."""
    config = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for block in config["encoders"].values():
        block.get("pretrain", block)["seed"] = seed
    folder.mkdir()
    (folder / "data").symlink_to("../data")
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    began = time.monotonic()
    snakefile = EXAMPLE.parents[2] / "workflow/Snakefile"
    subprocess.run(
        ["snakemake", "-s", str(snakefile), "--cores", "2", "--configfile", "config.yaml"], cwd=folder, check=True
    )
    return (time.monotonic() - began) / 60


def predictions(folder: Path, task: str, model: str, name: str) -> tuple[Any, Any, Any]:
    """Return (subject_N, truth_NS, scores_NS) of a task's test images, S signs."""
    found = pd.read_parquet(folder / f"results/tasks/{task}/{model}/{name}/predictions.parquet")
    found = found[found["split"] == "test"].assign(score=lambda rows: rows["scores"].str[-1])
    truth, scores = (found.pivot(index="sample_id", columns="class", values=one) for one in ("truth", "score"))
    subjects = found.drop_duplicates("sample_id").set_index("sample_id")["subject_id"].reindex(truth.index)
    return subjects.to_numpy(), truth.to_numpy(float), scores.to_numpy(float)


def main() -> None:
    """Print a line per task and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", type=int, default=0, help="seed of the eyes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    drawn(args.folder, args.draw)
    folders = [args.folder / f"seed{seed}" for seed in args.seeds]
    for folder, seed in zip(folders, args.seeds, strict=True):
        if not folder.exists():
            print(f"seed {seed}: {run(folder, seed):.1f} minutes", flush=True)
    print("task | method | pretrained | untrained | difference (95 % interval), seeds")
    for task in yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["tasks"]:
        for name, words in RUNS.items():
            found = [[predictions(one, task, model, name) for model in ("pretrained", "untrained")] for one in folders]
            subject_N, truth_NS, _ = found[0][0]
            pairs = [(trained[2], untrained[2]) for trained, untrained in found]
            trained_S, untrained_S = (np.array([mean_area(truth_NS, pair[at]) for pair in pairs]) for at in (0, 1))
            low, high = paired(truth_NS, subject_N, pairs)
            print(f"{task} | {words} | {trained_S.mean():.3f} | {untrained_S.mean():.3f} | "
                  f"{(trained_S - untrained_S).mean():+.3f} ({low:+.3f} to {high:+.3f}), "
                  f"{', '.join(f'{a:.3f}/{b:.3f}' for a, b in zip(trained_S, untrained_S, strict=True))}")  # fmt: skip


if __name__ == "__main__":
    main()
