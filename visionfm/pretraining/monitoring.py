"""What people see of a training under way: lines in the log, a warning on collapse, k-NN, TensorBoard, W&B.

Nothing here changes what is trained. Test images of the labelled dataset are never looked at.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from visionfm import artifacts
from visionfm.config.base import Statistics
from visionfm.data.labels import SCHEMA as LABELS
from visionfm.errors import DataError, UsageError
from visionfm.images.reading import decode
from visionfm.images.regular import read_regular
from visionfm.images.transforms import resize_square
from visionfm.pretraining.block import Knn
from visionfm.pretraining.networks import Backbone
from visionfm.pretraining.settings import ImageSetSettings

COLLAPSED_RANK, ENOUGH = 2.0, 32  # an effective rank below it, of so many CLS tokens at least, is a collapse
KNN_BATCH = 64
TOLD = {  # columns of training.parquet, as far as a family has them
    "loss_cls": "between views",
    "loss_patch": "on hidden patches",
    "loss_hidden": "on hidden patches",
    "agreement": "views that agree",
    "recognised": "images recognised",
    "knn": "k-NN",
}
log = logging.getLogger("visionfm")
Send = Callable[[dict[str, Any]], None]


class Labelled(NamedTuple):
    """The dataset that k-NN looks at: its labels.parquet, root and reading, and the encoder's input."""

    labels: Path
    root: Path
    images: ImageSetSettings
    statistics: Statistics
    size_px: int


class Monitor:
    """Shows the rows of training.parquet as they come."""

    def __init__(self, monitors: Sequence[str], folder: Path, knn: Knn | None, labelled: Labelled | None) -> None:
        """`folder` takes what TensorBoard and W&B write; UsageError where they are asked for and not installed."""
        self.senders: list[Send] = [_SENDERS[name](folder) for name in monitors]
        self.choice, self.labelled = knn, labelled
        self._since = time.monotonic()
        self._warned = False

    def show(self, row: dict[str, Any], images: float) -> None:
        """Show a row that `images` images went into."""
        now = time.monotonic()
        speed, self._since = images / max(now - self._since, 1e-9), now
        more = "".join(f", {words} {row[name]:.4f}" for name, words in TOLD.items() if row.get(name) is not None)
        log.info(
            "pretrain: epoch %d, step %d: loss %.4f%s, effective rank %.1f, %.1f images/s",
            *(row["epoch"], row["step"], row["loss"], more, row["rank_me"], speed),
        )
        if row["rank_me"] < COLLAPSED_RANK and images >= ENOUGH and not self._warned:
            self._warned = True
            log.warning(
                "pretrain: the encoder has collapsed: CLS tokens of different images have an effective rank of %.2f; "
                "lower `lr`, raise `centre_momentum` or take `centring: sinkhorn` (recipes with a teacher), "
                "or give it more varied images",
                row["rank_me"],
            )
        for send in self.senders:
            send({**row, "images_per_s": speed})

    def knn(self, epoch: int, backbone: Backbone) -> float | None:
        """Return the balanced accuracy of k-NN on validation images, in the epochs that ask for it."""
        if self.choice is None or self.labelled is None or (epoch + 1) % self.choice.every:
            return None
        return knn_accuracy(backbone, self.labelled, self.choice)


def knn_accuracy(backbone: Backbone, labelled: Labelled, choice: Knn) -> float:
    """Return the balanced accuracy of a majority vote of the k nearest training images, on validation images."""
    table = artifacts.read_table(labelled.labels, schema=LABELS).to_pydict()
    if choice.target not in table:
        raise DataError("no such label for k-NN", expected=choice.target, found=", ".join(table), where=labelled.labels)
    rows = [
        (split, path, str(value))
        for split, path, value in zip(table["split"], table["path"], table[choice.target], strict=True)
        if value is not None and split in ("train", "validation")
    ]
    sides = {split: [row for row in rows if row[0] == split] for split in ("train", "validation")}
    if not all(sides.values()):
        raise DataError(
            "k-NN needs labelled training and validation images",
            expected="at least one each",
            found=", ".join(f"{len(side)} {split}" for split, side in sides.items()),
            where=labelled.labels,
        )
    names = sorted({value for _, _, value in rows})
    training = [part for part in backbone.modules() if part.training]
    backbone.eval()  # what is trained may drop paths at random; what is measured may not
    try:
        features = {
            split: _features(backbone, [path for _, path, _ in side], labelled) for split, side in sides.items()
        }
    finally:
        for part in training:
            part.training = True
    label = {split: torch.tensor([names.index(v) for _, _, v in side]) for split, side in sides.items()}
    near_VK = (features["validation"] @ features["train"].T).topk(min(choice.k, len(sides["train"])), dim=1).indices
    votes_VC = functional.one_hot(label["train"][near_VK], len(names)).sum(dim=1)
    right_V = votes_VC.argmax(dim=1) == label["validation"]
    recalls = [right_V[label["validation"] == c].float().mean() for c in set(label["validation"].tolist())]
    return float(torch.stack(recalls).mean())


@torch.no_grad()
def _features(backbone: Backbone, paths: list[str], labelled: Labelled) -> torch.Tensor:
    device = next(backbone.parameters()).device
    mean, std = (torch.tensor(triple).view(3, 1, 1) for triple in (labelled.statistics.mean, labelled.statistics.std))
    parts = []
    for start in range(0, len(paths), KNN_BATCH):
        pixels = [_pixels(path, labelled) for path in paths[start : start + KNN_BATCH]]
        images_BCHW = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        cls_BD, _ = backbone(((images_BCHW - mean) / std).to(device))
        parts.append(functional.normalize(cls_BD.float(), dim=1).cpu())
    return torch.cat(parts)


def _pixels(path: str, labelled: Labelled) -> Any:
    file = labelled.root / path
    image = decode(read_regular(file), labelled.images, target_px=labelled.size_px, exact=False, where=file)
    return resize_square(image, labelled.size_px, "bilinear")


# --- senders --------------------------------------------------------------------------------------------------------


def _tensorboard(folder: Path) -> Send:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise _not_installed("tensorboard") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def send(row: dict[str, Any]) -> None:
        for name, value in row.items():
            if value is not None and name != "step":
                writer.add_scalar(name, value, row["step"])
        writer.flush()

    return send


def _wandb(folder: Path) -> Send:
    os.environ.setdefault("WANDB_MODE", "offline")  # sending data away is the user's decision
    try:
        import wandb  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise _not_installed("wandb") from error
    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(project="visionfm", dir=str(folder), resume="allow")

    def send(row: dict[str, Any]) -> None:
        run.log({name: value for name, value in row.items() if value is not None}, step=row["step"])

    return send


def _not_installed(package: str) -> UsageError:
    return UsageError(
        f"{package} is asked for and not installed",
        expected=f"the package {package}",
        found="none",
        do="install it, or take it out of `monitors`",
    )


_SENDERS: dict[str, Callable[[Path], Send]] = {"tensorboard": _tensorboard, "wandb": _wandb}
