"""The attentive head beside the linear one: small lesions on drawn eyes, an easy task, and seconds of an epoch.

Eyes are drawn healthy; half of them get one dark spot 6 px wide somewhere on the retina (`lesion`), or a darker fundus
as a whole (`tint`, `faint tint`). Features are those of an untrained ViT-Ti at 112 px (49 patches), which all heads
read.
Prints AUROC on test eyes by seed, and the difference with Student's interval over the seeds. Seconds are CPU seconds
of a process; tokens of ViT-B at 224 px for 10,000 images take 24 GB, so that fewer are measured and the time is scaled.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from visionfm import load_encoder
from visionfm.config.recipe import read_recipe
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.reproducible import reproducible
from visionfm.synthetic.drawing import draw
from visionfm.synthetic.findings import BIOMARKERS, FACTORS, Findings, disease_vector
from visionfm.tasks.classification.fit import Classification
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.feature_arrays import Stream, standardise, statistics
from visionfm.tasks.vectors.recipe import ATTENTIVE, Recipe, sound
from visionfm.tasks.vectors.spec import Spec
from visionfm.tasks.vectors.training import Batches, Training, outputs_of

TARGETS = {"sick": TargetSpec(type="binary", classes=["no", "yes"])}
PX, RADIUS_PX = 112, 3
TINTS = {"tint": 0.93, "faint tint": 0.985}
HEALTHY = Findings("R", disease_vector(0), (0.0,) * len(BIOMARKERS), (0.5,) * len(FACTORS))
LINEAR = ("linear, patch mean", "linear, CLS and patch mean")
RECIPES = {**dict.fromkeys(LINEAR, sound()), "attentive": read_recipe(Recipe, ATTENTIVE)}


def eyes(count: int, sign: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, PX, PX) in [0, 1], and which half has the sign."""
    rng = np.random.default_rng(seed)
    sick_N = rng.permutation(np.arange(count) % 2)
    images_NCHW = np.empty((count, 3, PX, PX), np.float32)
    y_HW, x_HW = np.mgrid[:PX, :PX]
    for n, sick in enumerate(sick_N):
        image_HWC = draw("Fundus", HEALTHY, rng, PX).astype(np.float32) / 255
        if sick:
            image_HWC *= TINTS.get(sign, 1)
        if sick and sign == "lesion":
            angle, away = rng.uniform(0, 2 * math.pi), 0.35 * PX * math.sqrt(rng.uniform(0.02, 1))
            y, x = PX / 2 + away * math.sin(angle), PX / 2 + away * math.cos(angle)
            image_HWC[np.hypot(y_HW - y, x_HW - x) < RADIUS_PX] *= (0.35, 0.2, 0.2)
        images_NCHW[n] = image_HWC.transpose(2, 0, 1)
    return images_NCHW, sick_N


def features(images_NCHW: np.ndarray, encoder: object) -> dict[str, np.ndarray]:
    """What each head reads, flat (N, F), and the shape of an image's tokens under `shape`."""
    mean, both, tokens = [], [], []
    with torch.inference_mode():
        for part_BCHW in torch.split(torch.from_numpy(images_NCHW), 16):
            cls_BLD, mean_BD = encoder.cls_and_mean(part_BCHW)  # type: ignore[attr-defined]
            mean.append(mean_BD.numpy())
            both.append(torch.cat([cls_BLD.flatten(1), mean_BD], dim=1).numpy())
            tokens.append(encoder.patch_tokens(part_BCHW).numpy())  # type: ignore[attr-defined]
    tokens_NLPD = np.concatenate(tokens)
    return {
        **dict(zip(LINEAR, map(np.concatenate, (mean, both)), strict=True)),
        "attentive": tokens_NLPD.reshape(len(tokens_NLPD), -1),
        "shape": np.array(tokens_NLPD.shape[1:]),
    }


def training(
    head: str, rows_NF: np.ndarray, truth_N: np.ndarray, shape: list[int], seed: int
) -> tuple[Training, Batches]:
    """The training of a head on three fifths of the rows, chosen on a fifth, and the batch of the last fifth."""
    recipe, names = RECIPES[head], np.full(len(rows_NF), "Fundus", object)
    whole = Stream("image", rows_NF[:, None].copy(), names, np.arange(len(rows_NF)))
    fifth_N = np.arange(len(rows_NF)) % 5
    train = whole.of(fifth_N < 3)
    standardise([whole], statistics([train], identity=not recipe.standardise, scale=recipe.scale))
    truth_NT, width = truth_N[:, None].astype(np.float64), rows_NF.shape[1]
    parts = [
        Batches.of([whole.of(keep_N)], [width], truth_NT[keep_N], "cpu")
        for keep_N in (fifth_N < 3, fifth_N == 3, fifth_N == 4)
    ]
    spec = Spec("classification", TARGETS, ["Fundus"], "pooled", recipe.head, recipe.features, [width], 1, shape)
    torch.manual_seed(seed)
    objective = Classification(TARGETS, recipe, truth_NT[fifth_N < 3], single=True)
    return Training(Decoder(spec), parts[0], parts[1], objective, recipe, seed), parts[2]


def auroc(head: str, found: dict[str, np.ndarray], truth_N: np.ndarray, seed: int) -> float:
    """AUROC on the test fifth, of the epoch that validation chose."""
    run, test = training(head, found[head], truth_N, found["shape"].tolist() if head == "attentive" else [], seed)
    with reproducible():
        run.run(StopFlag())
        run.network.load_state_dict(run.best)
        scores_N = outputs_of(run.network, test)[:, 0].numpy()
    return float(roc_auc_score(test.truth_NT[:, 0].numpy(), scores_N))


def interval(values: np.ndarray) -> str:
    """Mean and Student's interval."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def epoch_s(head: str, count: int) -> float:
    """CPU seconds of an epoch over `count` fabricated images of ViT-B at 224 px, validation left out."""
    shape, rng = [4, 196, 768], np.random.default_rng(0)
    width = math.prod(shape) if head == "attentive" else 5 * 768
    rows_NF = rng.standard_normal((count * 5 // 3, width), dtype=np.float32)
    run, _ = training(head, rows_NF, np.arange(len(rows_NF)) % 2, shape, 0)
    run._validate = lambda: (1.0, -1.0)  # type: ignore[method-assign]
    started = time.process_time()
    with reproducible():
        run._epoch(StopFlag())
    return time.process_time() - started


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eyes", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of eyes, and of training")
    parser.add_argument("--images", type=int, default=300)
    args = parser.parse_args()
    print(f"task | {' | '.join(RECIPES)} | attentive less each of the others")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        import_encoder(
            ImportSettings(modality="Fundus", weights="random", arch="vit_tiny_patch16_224", image_size=PX), path
        )
        encoder = load_encoder(path)
        for sign in ("lesion", *TINTS):
            by_head = {head: np.zeros(len(args.seeds)) for head in RECIPES}
            for at, seed in enumerate(args.seeds):
                images_NCHW, sick_N = eyes(args.eyes, sign, seed)
                found = features(images_NCHW, encoder)
                for head, values in by_head.items():
                    values[at] = auroc(head, found, sick_N, seed)
                print(
                    f"  {sign}, seed {seed}: " + ", ".join(f"{h} {v[at]:.3f}" for h, v in by_head.items()), flush=True
                )
            means = " | ".join(f"{values.mean():.3f}" for values in by_head.values())
            gains = "; ".join(interval(by_head["attentive"] - by_head[head]) for head in LINEAR)
            print(f"{sign} | {means} | {gains}", flush=True)
    for head, count in ((LINEAR[1], 10_000), ("attentive", args.images)):
        seconds = epoch_s(head, count)
        print(f"epoch, {head}: {seconds:.1f} CPU s for {count} images, {seconds * 10_000 / count:.0f} s for 10,000")


if __name__ == "__main__":
    main()
