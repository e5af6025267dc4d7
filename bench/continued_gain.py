"""What continued pretraining gains over the weights that it starts from: `python -m bench.continued_gain FOLDER`.

The given weights are real ones: pretrained here (recipe `modern`, from nothing) on drawn eyes of another modality. Each
recipe continues from them on unlabelled drawn eyes of the target's modality, once for each of `--seeds`. Other people's
eyes are scored: logistic regression and k-NN from frozen features, five folds by person, AUROC averaged over two signs;
the interval is that of the paired difference to the given weights, averaged over seeds, from a bootstrap over people.
`--draw` makes all eyes and the given weights anew: choose settings on one draw, report another. `--idrid FOLDER` takes
IDRiD's photographs (shrunk first) in place of drawn eyes: any retinopathy against none, pretrained on the same images.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from bench.pretrain_gain import NEIGHBOURS, features, mean_area, out_of_fold, paired
from visionfm import artifacts
from visionfm.cli import main as run
from visionfm.project.config import Config
from visionfm.project.plan import Plan

PX = 112
SIGNS = ("glaucoma", "cataract")
GIVEN = """
{recipe: modern, epochs: 20, batch_size: 32, micro_batch: 32, precision: fp32, registers: 0, drop_path: 0,
 out_dim: 256, patch_out_dim: 256, head_hidden: 256, head_bottleneck: 64, teacher_temp: [0.01, 0.01],
 patch_temp: [0.02, 0.02], temp_warmup_epochs: 0, patch_weight: 0.1, koleo_weight: 1,
 augment: {local_crops: 0, global_scale: [0.8, 1.0], flip: 0, hue: 0.1, grayscale: 0.2, blur: [0, 0], solarize: 0},
 lr: 8.0e-3, min_lr: 1.0e-4, warmup_epochs: 1, layer_decay: 0.7, momentum: [0.9, 1], weight_decay: [0.04, 0.04],
 frozen_last_layer_epochs: 0}
"""
METHODS = ("logistic regression", f"k-NN ({NEIGHBOURS})")


def command(*words: Any) -> None:
    """Run a stage in this process."""
    if code := run([str(word) for word in words]):
        raise SystemExit(code)


def drawn(folder: Path, args: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Draw the eyes once; return the roots of other images, of the target's unlabelled ones, and the labelled ones'."""
    for name, task, modality, seed in (
        ("other", "pretrain", args.other, 0),
        ("target", "pretrain", args.modality, 1),
        ("labelled", "multi_cls", args.modality, 2),
    ):
        if not (folder / name).exists():
            number = ["--number", args.people, "--size", PX, "--difficulty", "hard", "--seed", 3 * args.draw + seed]
            command("synth", "--task", task, "--modalities", modality, *number, "--out", folder / name)
    return folder / "other" / args.other, folder / "target" / args.modality, folder / "labelled"


def flat(path: Path) -> str:
    """Return the name of the shrunk copy of an image."""
    return "_".join(path.with_suffix(".png").parts)


def shrunk(idrid: Path, folder: Path) -> Path:
    """Write IDRiD's photographs at a shorter side of 2 * PX, once."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for path in sorted(one for one in (idrid / "images").rglob("*") if one.is_file()):
            with Image.open(path) as image:
                image.draft("RGB", (4 * PX, 4 * PX))
                small = image.convert("RGB")
            small.thumbnail((3 * PX, 2 * PX))
            small.save(folder / flat(path.relative_to(idrid)))
    return folder


def pretrained(
    out: Path, root: Path, modality: str, args: argparse.Namespace, given: Path | None = None, **block: Any
) -> float:
    """Train an encoder on the images of a folder unless it is there; return the CPU seconds that took, 0 if none.

    It starts from the `given` weights and sees images normalised as they were: other statistics are other features.
    """
    if out.exists():
        return 0.0
    block = {"datasets": ["images"], "image_size": args.size, "workers": 0, **block}
    own: dict[str, Any] = {"modality": modality, "device": "cpu", "image_size": args.size, "pretrain": block}
    if given is not None:
        block["init"] = str(given)
        said = artifacts.read_metadata(given)
        own["statistics"] = {name: json.loads(said[name]) for name in ("mean", "std")}
    raw = {
        "encoders": {"own": own},
        "models": {},
        "tasks": {},
        "datasets": {"images": {"modality": modality, "root": str(root), "layout": "table", "labels": "none"}},
    }
    plan = Plan(Config.model_validate_json(json.dumps(raw)))
    index = out.parent / "images.parquet"
    settings = plan.data.index_settings("images", "").model_dump_json()
    command("index", "--root", root, "--out", index, "--settings", settings)
    began = time.process_time()
    command(
        *("pretrain", "--images", f"images={index}", "--root", f"images={root}", "--out", out, "--threads", 1),
        *("--training-out", out.with_name("training.parquet")),
        *("--settings", plan.pretraining.pretrain_settings("own").model_dump_json()),
    )
    return time.process_time() - began


def main() -> None:
    """Print a line per recipe and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--people", type=int, default=150)
    parser.add_argument("--modality", default="SlitLamp")
    parser.add_argument("--other", default="UBM", help="modality that the given weights were trained on")
    parser.add_argument("--arch", default="test_vit")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--idrid", type=Path)
    parser.add_argument("--given", default=GIVEN, help="block that makes the given weights, YAML")
    parser.add_argument("--recipe", nargs="+", required=True, help="NAME=BLOCK of each to compare, the block in YAML")
    args = parser.parse_args()
    folder = args.folder / f"draw{args.draw}"
    other, target, labelled = drawn(folder, args)
    if args.idrid:
        args.modality, target = "Fundus", shrunk(args.idrid, args.folder / "idrid")
        rows = list(csv.DictReader((args.idrid / "labels.csv").open(encoding="utf-8")))
        files = [target / flat(Path(row["image"])) for row in rows]
        truth_NS = np.array([[int(float(row["dr_grade"]) > 0)] for row in rows])
        people = [row["image"] for row in rows]
    else:
        rows = list(csv.DictReader((labelled / "truth.csv").open(encoding="utf-8")))
        files = [labelled / row["path"] for row in rows]
        truth_NS = np.array([[int(row[sign]) for sign in SIGNS] for row in rows])
        people = [row["subject"] for row in rows]
    given = folder / "given" / "encoder.safetensors"
    seconds = pretrained(given, other, args.other, args, arch=args.arch, seed=args.draw, **yaml.safe_load(args.given))
    print(f"given weights: {args.arch} from {args.other}, {seconds:.0f} CPU s; {len(files)} eyes scored, "
          f"{truth_NS.sum(axis=0).tolist()} positive, {len(set(people))} people", flush=True)  # fmt: skip
    scores = {method: scored(given, files, truth_NS, people, method, args.size) for method in METHODS}
    print("recipe | method | continued | given | difference (95 % interval), seeds, CPU s of a training")
    for said in args.recipe:
        name, _, block = said.partition("=")
        where = args.folder / ("idrid_trained" if args.idrid else folder.name)
        outs = [where / f"{name}{seed}" / "encoder.safetensors" for seed in args.seeds]
        own = yaml.safe_load(block)
        seeded = zip(outs, args.seeds, strict=True)
        took = [pretrained(out, target, args.modality, args, given, seed=seed, **own) for out, seed in seeded]
        for method, before in scores.items():
            pairs = [(scored(out, files, truth_NS, people, method, args.size), before) for out in outs]
            low, high = paired(truth_NS, people, pairs)
            areas, base = [mean_area(truth_NS, one) for one, _ in pairs], mean_area(truth_NS, before)
            each, times = ", ".join(f"{area:.3f}" for area in areas), ", ".join(f"{one:.0f}" for one in took)
            gain = f"{np.mean(areas) - base:+.3f} ({low:+.3f} to {high:+.3f})"
            print(f"{name} | {method} | {np.mean(areas):.3f} | {base:.3f} | {gain}, {each}, {times}", flush=True)


def scored(encoder: Path, files: list[Path], truth_NS: Any, people: list[str], method: str, size_px: int) -> Any:
    """Scores (N, S) of frozen features, each by a classifier that saw no image of the same person."""
    found_NF = features(encoder, files, size_px)
    return np.stack([out_of_fold(found_NF, truth_N, people, method) for truth_N in truth_NS.T], axis=1)


if __name__ == "__main__":
    main()
