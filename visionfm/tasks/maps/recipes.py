"""Recipes of dense decoders: every hyper-parameter of their training, by name.

`published` is docs/published-system.md, 6.3 and 6.4, with the departures that the best epoch is chosen on validation
and that the step schedule of segmentation is really stepped. `sound` is the default, for some ten images and more.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from visionfm.features.settings import Precision
from visionfm.tasks.maps.settings import Augmentation, DenseTrainSettings

STEPS_DOWN = 5  # how often schedule `step` halves the learning rate, evenly over the epochs


@dataclass(frozen=True)
class DenseRecipe:
    """How a dense decoder is built and trained."""

    head: Literal["light", "unetr", "linear"]
    lr: float
    weight_decay: float
    decay_all: bool  # biases and norms too, as published
    schedule: Literal["cosine", "step", "constant"]
    epochs: int
    batch_size: int
    patience: int | None
    augmentation: Augmentation
    precision: Precision = "fp32"
    class_weighting: Literal["none", "balanced"] = "none"
    crop_px: int = 0  # segmentation trains on random squares of about this side, in whole patches; 0: whole images
    target_width: float = 0.0  # standard deviation of a landmark's target in px; 0: one pixel
    over_batch: bool = False  # Dice of all images of a batch together, so that those without a class count
    threshold: float | None = None  # of masks of two classes; None: of the best Dice on validation
    selection: str = "quality"  # mean Dice of the foreground, or minus the mean radial error, on validation

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        if self.schedule == "step":
            return float(self.lr * 0.5 ** (epoch // max(1, self.epochs // STEPS_DOWN)))
        return self.lr


SOUND = DenseRecipe(
    head="light",
    lr=3e-3,
    weight_decay=0.01,
    decay_all=False,
    schedule="cosine",
    epochs=80,
    batch_size=2,
    patience=30,
    augmentation="flips",
    crop_px=256,
    over_batch=True,
)
SOUND_LANDMARKS = replace(SOUND, crop_px=0, target_width=4.0)
PUBLISHED = DenseRecipe(
    head="unetr",
    lr=1e-3,
    weight_decay=0.05,
    decay_all=True,
    schedule="step",
    epochs=100,
    batch_size=128,
    patience=None,
    augmentation="flips",
    threshold=0.5,
)
PUBLISHED_LANDMARKS = replace(PUBLISHED, schedule="constant", augmentation="affine")
RECIPES = {
    ("sound", "segmentation"): SOUND,
    ("sound", "landmarks"): SOUND_LANDMARKS,
    ("published", "segmentation"): PUBLISHED,
    ("published", "landmarks"): PUBLISHED_LANDMARKS,
}
SETTABLE = (
    *("head", "lr", "weight_decay", "schedule", "epochs", "batch_size", "patience", "augmentation", "precision"),
    *("class_weighting", "crop_px", "target_width", "threshold"),
)


def choose(settings: DenseTrainSettings) -> DenseRecipe:
    """Return the recipe that the settings name, with the fields that they set."""
    given = {name: getattr(settings, name) for name in SETTABLE if getattr(settings, name) is not None}
    return replace(RECIPES[settings.recipe, settings.kind], **given)
