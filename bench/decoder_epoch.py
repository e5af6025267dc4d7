"""An epoch of decoder training on cached samples, against reading the pickles of a published epoch.

Prints `name | reference | ours | ratio | wanted`. The reference only reads; its own training is not counted. A
published training set has ten pickles per image, one for each random-flip pass; the cache's four views stand for them.
Ours is the whole epoch: the draw of order and views, gathering, forward, backward, steps.
"""

import argparse
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
from reference import read_pickles

from visionfm.config.recipe import read_recipe
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks.classification.fit import Classification
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.feature_arrays import Stream
from visionfm.tasks.vectors.recipe import SOUND, Recipe, sound
from visionfm.tasks.vectors.spec import Spec
from visionfm.tasks.vectors.training import Batches, Training

TARGETS = {"grade": TargetSpec(type="multiclass", classes=list("01234"))}
PUBLISHED = read_recipe(Recipe, SOUND.parents[2] / "classification/recipes/published_multi.yaml")
TAPS, VIEWS, PASSES = 4, 4, 10


def write_pickles(folder: Path, cls_NLD: np.ndarray) -> None:
    """One pickle per image, as the published extraction writes them (published system, 5)."""
    for number, cls_LD in enumerate(cls_NLD):
        content = {
            "img_name": f"set/train/{number:06}.png",
            "feats_idx": [8, 9, 10, 11],
            "feats": list(cls_LD),
            "labels": np.eye(5, dtype=np.float32)[number % 5],
            "img_path": f"data/set/train/{number:06}.png",
        }
        (folder / f"{number:06}_0.pickle").write_bytes(pickle.dumps(content))


def training(features_NVF: np.ndarray, recipe: Recipe) -> Training:
    """A decoder's training over features in memory; the validation set is small, as it is scored outside the epoch."""
    count, _, width = features_NVF.shape
    names = np.full(count, "Fundus", object)
    truth_NT = (np.arange(count) % 5).astype(np.float64)[:, None]
    whole = Batches.of([Stream("image", features_NVF, names, np.arange(count))], [width], truth_NT, "cpu")
    few = Batches.of([Stream("image", features_NVF[:64], names[:64], np.arange(64))], [width], truth_NT[:64], "cpu")
    spec = Spec("classification", TARGETS, ["Fundus"], "pooled", recipe.head, "cls", [width])
    return Training(Decoder(spec), whole, few, Classification(TARGETS, recipe, truth_NT, True), recipe, 0)


def seconds_an_epoch(run: Training, rounds: int) -> float:
    """The best of some epochs."""
    best_s = float("inf")
    with reproducible():
        for _ in range(rounds):
            started = time.perf_counter()
            run._epoch(StopFlag())
            best_s = min(best_s, time.perf_counter() - started)
    return best_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print("name | reference | ours | ratio | wanted")
    for name, width in (("ViT-Ti", 192), ("ViT-B", 768)):
        rng = np.random.default_rng(0)
        features_NVF = rng.standard_normal((args.samples, VIEWS, TAPS * width), dtype=np.float32)
        with tempfile.TemporaryDirectory() as folder:
            write_pickles(Path(folder), features_NVF[:, 0].reshape(-1, TAPS, width))
            reference_s = float("inf")
            for _ in range(2):  # the second reads from memory: the disk is not what is compared
                started = time.perf_counter()
                read_pickles(Path(folder))
                reference_s = min(reference_s, time.perf_counter() - started)
        for recipe_name, recipe in (("sound", sound()), ("published", PUBLISHED)):
            ours_s = seconds_an_epoch(training(features_NVF, recipe), args.rounds)
            for what, passes, wanted in (("one pickle per sample", 1, "-"), ("ten, as published", PASSES, ">= 100")):
                label = f"epoch of {args.samples} samples, {name}, {recipe_name}; {what}"
                wanted = wanted if recipe_name == "sound" else "(no promise)"
                read_s = reference_s * passes
                print(f"{label} | {read_s * 1e3:.0f} ms | {ours_s * 1e3:.1f} ms | {read_s / ours_s:.0f} | {wanted}")


if __name__ == "__main__":
    main()
