"""One diseased slice in fifty, drawn: what mean, maximum and attention make of it behind a small untrained encoder.

Prints `seed | mean | max | attention | right slice`: AUROC of the test volumes, and of the sick ones the share whose
diseased slice has the largest weight. A slice has two layers and speckle; brightness and depth are those of its eye.
Every second volume has one slice with a dark cyst. Every seed has volumes of its own.
"""

import argparse

import numpy as np
import numpy.typing as npt
import timm
import torch
from sklearn.metrics import roc_auc_score

from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks.classification.fit import Classification
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors import feature_arrays as arrays
from visionfm.tasks.vectors.decoder import Decoder
from visionfm.tasks.vectors.feature_arrays import Stream
from visionfm.tasks.vectors.recipe import sound
from visionfm.tasks.vectors.spec import Spec
from visionfm.tasks.vectors.training import Batches, Training, outputs_of, slice_weights

TARGETS = {"sick": TargetSpec(type="binary", classes=["no", "yes"])}
SLICES, SIDE = 50, 32
Floats = npt.NDArray[np.float32]


def volume(rng: np.random.Generator, sick: bool) -> tuple[npt.NDArray[np.uint8], int]:
    """Return slices_IHW and the number of the diseased one."""
    y, x = np.mgrid[:SIDE, :SIDE]
    depth, bright = rng.uniform(8, 14), rng.uniform(0.7, 1.3)
    bend_I1 = rng.normal(0, 1, (SLICES, 1, 1))
    top_IHW = depth + bend_I1 + 2 * np.sin(x / SIDE * np.pi)
    layers_IHW = 110 * (np.abs(y - top_IHW - 3) < 3) + 140 * (np.abs(y - top_IHW - 11) < 2) + 25
    slices_IHW = bright * layers_IHW * rng.gamma(8, 1 / 8, layers_IHW.shape)
    at = int(rng.integers(SLICES))
    if sick:
        centre_y, centre_x = depth + 7, rng.uniform(9, SIDE - 9)
        slices_IHW[at][((y - centre_y) / 6) ** 2 + ((x - centre_x) / 7) ** 2 < 1] = 5
    return slices_IHW.clip(0, 255).astype(np.uint8), at


def encoded(network: torch.nn.Module, slices_IHW: npt.NDArray[np.uint8]) -> Floats:
    """Return the patch mean of each slice."""
    images_IHW = torch.from_numpy(slices_IHW).float() / 127.5 - 1
    with torch.inference_mode():
        tokens_IPD = network.forward_features(images_IHW.unsqueeze(1).expand(-1, 3, -1, -1))  # type: ignore[operator]
    features_ID: Floats = tokens_IPD[:, 1:].mean(1).numpy()
    return features_ID


def answers(features_NID: Floats, sick_N: npt.NDArray[np.int64], slices: str, seed: int) -> tuple[Floats, Floats]:
    """Return the test volumes' scores and, of attention, weight_NI."""
    count, width = len(sick_N), features_NID.shape[2]
    rows_RVF = features_NID.reshape(-1, 1, width).copy()
    stream = Stream(
        "OCT", rows_RVF, np.full(len(rows_RVF), "OCT", object), np.arange(count) * SLICES, np.full(count, SLICES)
    )
    if slices != "attention":
        pooled_NVF = (features_NID.mean(1) if slices == "mean" else features_NID.max(1))[:, None]
        stream = Stream("OCT", pooled_NVF.copy(), np.full(count, "OCT", object), np.arange(count))
    part_N = np.arange(count) % 5
    keep = {"train": part_N < 3, "validation": part_N == 3, "test": part_N == 4}
    arrays.standardise([stream], arrays.statistics([stream.of(keep["train"])]))
    truth_NT = sick_N[:, None].astype(np.float64)
    parts = {name: Batches.of([stream.of(of)], [width], truth_NT[of], "cpu") for name, of in keep.items()}
    torch.manual_seed(seed)
    network = Decoder(
        Spec("classification", TARGETS, ["OCT"], "concat", "linear", "patch_mean", [width], slices=slices)
    )
    recipe = sound()
    objective = Classification(TARGETS, recipe, truth_NT[keep["train"]], True)
    run = Training(network, parts["train"], parts["validation"], objective, recipe, seed)
    with reproducible():
        run.run(StopFlag(), None, 60)
        network.load_state_dict(run.best)
        scores_N = outputs_of(network, parts["test"])[:, 0].numpy()
        weight_NI = slice_weights(network, parts["test"])[0].view(-1, SLICES).numpy() if network.slices else np.zeros(0)
    return scores_N, weight_NI


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("seed | mean | max | attention | right slice", flush=True)
    for seed in range(3):
        torch.manual_seed(0)
        network = timm.create_model("vit_tiny_patch16_224", img_size=SIDE, patch_size=8, num_classes=0).eval()
        rng = np.random.default_rng(seed)
        sick_N = rng.permutation(np.arange(args.volumes) % 2)
        drawn = [volume(rng, bool(sick)) for sick in sick_N]
        features_NID = np.stack([encoded(network, slices_IHW) for slices_IHW, _ in drawn])
        test_N = np.arange(args.volumes) % 5 == 4
        said = {how: answers(features_NID, sick_N, how, seed) for how in ("mean", "max", "attention")}
        areas = [roc_auc_score(sick_N[test_N], scores_N) for scores_N, _ in said.values()]
        at_N = np.array([at for _, at in drawn])[test_N]
        right = (said["attention"][1].argmax(1) == at_N)[sick_N[test_N] == 1].mean()
        print(seed, *(f"{value:.2f}" for value in (*areas, right)), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
