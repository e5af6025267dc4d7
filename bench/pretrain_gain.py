"""What a pretraining gains over random initialisation: `python -m bench.pretrain_gain FOLDER LABELS [...]`.

For each seed a ViT is pretrained on the images of a folder (no label is seen) and another is initialised at random;
logistic regression and k-NN then predict a column of the labels from frozen features (CLS of the last four blocks and
the patch mean), five folds by subject. The interval is that of the paired difference, averaged over seeds, from a
bootstrap over subjects. The images pretrained on may be those that are scored: their labels were not seen, but say so
beside the number. Example, any retinopathy against none:

    python -m bench.pretrain_gain ../shared/data/idrid ../shared/data/idrid/labels.csv --target dr_grade --above 0 \
        --pretrain '{epochs: 3, recipe: modern, image_size: 96, ...}' --seeds 0 1 2
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from visionfm.cli import main as run
from visionfm.encoders.vit import load_encoder
from visionfm.project.config import Config
from visionfm.project.plan import Plan

FOLDS, DRAWS, NEIGHBOURS = 5, 2000, 20
Scores = npt.NDArray[np.float64]


def features(encoder: Path, files: list[Path], size_px: int) -> Scores:
    """(N, 5 * D): CLS of the last four blocks and the mean of the last one's patches."""
    found = load_encoder(encoder, image_size=size_px)(files)
    return np.concatenate([found.cls_BLD.flatten(1).numpy(), found.patch_mean_BD.numpy()], axis=1).astype(np.float64)


def area(truth_N: npt.NDArray[np.int_], scores_N: Scores) -> float:
    """The AUROC: the share of (positive, negative) pairs in the right order, ties half."""
    positive = int(truth_N.sum())
    ranks = float(rankdata(scores_N)[truth_N == 1].sum()) - positive * (positive + 1) / 2
    return ranks / (positive * (len(truth_N) - positive))


def out_of_fold(features_NF: Scores, truth_N: npt.NDArray[np.int_], group_N: list[str], method: str) -> Scores:
    """Scores (N), each by a classifier that saw no image of the same subject."""
    scores_N = np.zeros(len(truth_N))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features_NF, truth_N, group_N):
        steps: list[Any] = [StandardScaler()]
        steps += (
            [LogisticRegression(C=0.01, max_iter=3000)]
            if method == "logistic regression"
            else [
                Normalizer(),
                KNeighborsClassifier(NEIGHBOURS),
            ]
        )
        fitted = make_pipeline(*steps).fit(features_NF[train], truth_N[train])
        scores_N[test] = fitted.predict_proba(features_NF[test])[:, 1]
    return scores_N


def mean_area(truth_NS: npt.NDArray[Any], scores_NS: Scores) -> float:
    """The AUROC averaged over S signs."""
    return float(np.mean([area(truth_N, scores_N) for truth_N, scores_N in zip(truth_NS.T, scores_NS.T, strict=True)]))


def paired(
    truth_NS: npt.NDArray[Any], group_N: Sequence[str], pairs: Sequence[tuple[Scores, Scores]]
) -> tuple[float, float]:
    """The 95 % interval of the first's mean AUROC less the second's, over pairs (scores_NS), by draws of subjects."""
    rng = np.random.default_rng(0)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(group_N):
        members.setdefault(group, []).append(place)
    rows, found = list(members.values()), []
    for _ in range(DRAWS):
        at = np.concatenate([rows[one] for one in rng.integers(0, len(rows), len(rows))])
        if all(0 < truth_N.sum() < len(at) for truth_N in truth_NS[at].T):
            found.append(np.mean([mean_area(truth_NS[at], a[at]) - mean_area(truth_NS[at], b[at]) for a, b in pairs]))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def encoders(args: argparse.Namespace, seed: int, folder: Path) -> tuple[Path, Path]:
    """Pretrain one encoder, initialise another; return both files."""
    block = {"arch": args.arch, "datasets": ["images"], "seed": seed, **yaml.safe_load(args.pretrain)}
    own = {"modality": args.modality, "device": "cpu"}
    raw = {
        "encoders": {
            "trained": {**own, "pretrain": block},
            "random": {**own, "weights": "random", "arch": args.arch, "seed": seed, "image_size": args.size},
        },
        "models": {},
        "datasets": {
            "images": {"modality": args.modality, "root": str(args.images), "layout": "table", "labels": "none"}
        },
        "tasks": {},
    }
    plan = Plan(Config.model_validate_json(json.dumps(raw)))
    index, trained, random = (folder / name for name in ("images.parquet", f"{seed}/trained", f"{seed}/random"))
    out = [path / "encoder.safetensors" for path in (trained, random)]
    settings = plan.data.index_settings("images", "").model_dump_json()
    commands = [
        ["index", "--root", str(args.images), "--out", str(index), "--settings", settings],
        [
            *("pretrain", "--images", f"images={index}", "--root", f"images={args.images}", "--out", str(out[0])),
            *("--training-out", str(trained / "training.parquet"), "--threads", "1"),
            *("--settings", plan.pretraining.pretrain_settings("trained").model_dump_json()),
        ],
        ["import", "--out", str(out[1]), "--settings", plan.encoding.import_settings("random").model_dump_json()],
    ]
    for command in commands:
        if code := run(command):
            raise SystemExit(code)
    return out[0], out[1]


def main() -> None:
    """Print a line per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder that is pretrained on, and that the labels' paths start from")
    parser.add_argument("labels", type=Path, help="CSV with a column of paths and the target")
    parser.add_argument("--path", default="image", help="column of paths")
    parser.add_argument("--subject", help="column of subjects; without one, each image is a subject")
    parser.add_argument("--target", required=True, help="column that is predicted")
    parser.add_argument("--above", type=float, default=0, help="positive is above this")
    parser.add_argument("--modality", default="Fundus")
    parser.add_argument("--arch", default="vit_tiny_patch16_224")
    parser.add_argument("--size", type=int, default=224, help="side in px at which images are scored")
    parser.add_argument("--pretrain", required=True, help="the encoder's `pretrain` block, YAML")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    rows = [
        row for row in csv.DictReader(args.labels.open(encoding="utf-8")) if (args.images / row[args.path]).is_file()
    ]
    files = [args.images / row[args.path] for row in rows]
    truth_N = np.array([int(float(row[args.target]) > args.above) for row in rows])
    group_N = [row[args.subject] if args.subject else row[args.path] for row in rows]
    scores: dict[str, list[tuple[Scores, Scores]]] = {"logistic regression": [], f"k-NN ({NEIGHBOURS})": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            both = [features(path, files, args.size) for path in encoders(args, seed, Path(folder))]
            for method, pairs in scores.items():
                trained, random = (out_of_fold(one, truth_N, group_N, method) for one in both)
                pairs.append((trained, random))
    people = len(set(group_N))
    print(f"{args.target} > {args.above:g}: {len(rows)} images, {truth_N.sum()} positive, {people} subjects")
    print("method | pretrained | random | difference (95 % interval), seeds")
    for method, pairs in scores.items():
        trained_S, random_S = (np.array([area(truth_N, pair[at]) for pair in pairs]) for at in (0, 1))
        low, high = paired(truth_N[:, None], group_N, [(a[:, None], b[:, None]) for a, b in pairs])
        gain = float((trained_S - random_S).mean())
        print(f"{method} | {trained_S.mean():.3f} | {random_S.mean():.3f} | {gain:+.3f} ({low:+.3f} to {high:+.3f}), "
              f"{', '.join(f'{a:.3f}/{b:.3f}' for a, b in zip(trained_S, random_S, strict=True))}")  # fmt: skip


if __name__ == "__main__":
    main()
