"""Which dense head draws better: the published UNETR or the light one, trained alike: `python -m bench.dense_heads`.

Prints `name | reference | ours | difference | wanted` of the test images' mean Dice. Both heads have the sound recipe
(loss, crops, learning rate, epochs) and one untrained encoder; the workflow runs from images to metrics in a temporary
folder. `--chase` names a folder of CHASE_DB1 with its table (children 09 and 10 are the test), else vessels are drawn.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from visionfm.synthetic.dataset import write_dataset

CHECKOUT = Path(__file__).resolve().parents[1]
HEADS = {"reference": "unetr", "ours": "light"}


def main() -> None:
    """Run one workflow of two tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chase", type=Path, help="a folder of CHASE_DB1; default: drawn vessels")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=512, help="px of the square input")
    parser.add_argument("--people", type=int, default=6, help="drawn people per split, two eyes each")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset, classes = drawn(folder, args.people) if args.chase is None else chase(args.chase)
        (folder / "config.yaml").write_text(yaml.safe_dump(config(dataset, classes, args.epochs, args.size)))
        command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", name, "--cores", "1"]
        command += ["--configfile", str(folder / "config.yaml"), "--quiet", "all"]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        rows = {side: dice(folder, head) for side, head in HEADS.items()}
    what = f"vessels of {'drawn eyes' if args.chase is None else 'CHASE_DB1'}, {args.size} px, {args.epochs} epochs"
    print("name | reference | ours | difference | wanted")
    shown = {side: f"{row['value']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})" for side, row in rows.items()}
    gain = rows["ours"]["value"] - rows["reference"]["value"]
    print(f"Dice, {what}, n {rows['ours']['n']} | {shown['reference']} | {shown['ours']} | {gain:+.3f} | above 0")


def drawn(folder: Path, people: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw eyes; return their dataset and its classes."""
    write_dataset("segmentation", folder / "masks", number=people, modalities=["Fundus"])
    pattern = "(?P<subject>s[0-9]+)_(?P<eye>[RL])"
    layout = {"root": "masks/VesselSegmentation", "layout": "segmentation", "path_pattern": pattern}
    return {**layout, "split": {"validation": 0.2}}, {"background": [0, 1], "vessel": 2}


def chase(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the dataset of a CHASE_DB1 folder and its classes."""
    columns = {name: name for name in ("image", "subject", "eye", "mask", "fov")}
    table = {"root": str(root.resolve()), "layout": "table", "table": "labels.csv", "images": "images/*"}
    split = {"validation": 0.15, "test_subjects": ["09", "10"]}
    return {**table, "columns": columns, "split": split}, {"background": 0, "vessel": 255}


def config(dataset: dict[str, Any], classes: dict[str, Any], epochs: int, size: int) -> dict[str, Any]:
    """Return a config of one task per head, alike but for the head."""
    encoder = {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224", "device": "cpu", "workers": 0}
    training = {"epochs": epochs, "patience": epochs, "resources": {"threads": 1}}
    same = {"kind": "segmentation", "datasets": ["eyes"], "models": ["tiny"], "image_size": size, "training": training}
    return {
        "encoders": {"fundus": encoder},
        "models": {"tiny": {"Fundus": "fundus"}},
        "datasets": {"eyes": {"modality": "Fundus", **dataset}},
        "tasks": {head: {**same, "head": head, "targets": {"vessel": {"classes": classes}}} for head in HEADS.values()},
    }


def dice(folder: Path, head: str) -> dict[str, Any]:
    """Return the row of the test images' mean Dice of vessels."""
    wanted = {"task": head, "metric": "dice", "class": "vessel", "split": "test", "run": "seed0"}
    wanted |= {"dataset": "all", "modality": "all"}
    rows = pq.read_table(folder / "results/report/metrics.parquet").to_pylist()
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return dict(row)


if __name__ == "__main__":
    main()
