"""Recipes: every hyper-parameter of decoder training, by name.

`published` is docs/published-system.md, 6.1, 6.2, 6.5 and 6.6, with two departures: the best epoch is chosen on the
validation split, and the ten random-flip passes are a random choice among the four cached views. `sound` is the
default, for a few hundred images and more. Any field can be set in the config.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from visionfm.tasks.settings import TrainSettings

SMALL_BATCH, LARGE_BATCH = 32, 512
STEPS_PER_EPOCH = 20


@dataclass(frozen=True)
class Recipe:
    """How a decoder is built and trained."""

    head: Literal["linear", "ClsHead", "RegHead", "ForecastHead"]
    features: Literal["cls", "patch_mean", "both"]
    standardise: bool  # features by modality and, in regression, targets; both on the training rows
    optimizer: Literal["adamw", "sgd"]
    lr: float
    lr_for: Literal[
        "all", "256 samples", "1000 inputs"
    ]  # what lr is meant for; it scales with batch size, or 1/sqrt(F)
    weight_decay: float
    schedule: Literal["cosine", "constant"]
    epochs: int
    batch_size: int | None  # None: SMALL_BATCH, growing with the training set
    patience: int | None  # epochs without improvement on validation; None: never stops early
    selection: Literal["loss", "f1", "auroc", "relative_mae"]  # what the best epoch is chosen by, on validation
    mean_over: Literal["known", "batch"]  # what a loss is divided by where labels are unknown
    modality_dropout: float = 0.25
    class_weighting: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0  # in training alone
    scale: float = 1.0  # the standard deviation of standardised features

    @property
    def threads(self) -> int:
        """The number of CPU threads, always the same: a small head is slowed down by a second one."""
        return 1 if self.head in ("linear", "ForecastHead") else 2

    def batch(self, samples: int) -> int:
        """Return the batch size for a number of training samples."""
        if self.batch_size is not None:
            return self.batch_size
        return min(max(SMALL_BATCH, samples // STEPS_PER_EPOCH), LARGE_BATCH)

    def learning_rate(self, epoch: int, batch_size: int, inputs: int) -> float:
        """Return the learning rate of an epoch, counted from 0 (cosine: to 0 at the end, no warm-up).

        `inputs` is F. A step of Adam moves each weight by lr, and hence an output by up to lr x F: wide features need
        smaller steps.
        """
        scale = {"all": 1.0, "256 samples": batch_size / 256, "1000 inputs": math.sqrt(1000 / inputs)}
        peak = self.lr * scale[self.lr_for]
        if self.schedule == "constant":
            return peak
        return peak * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


SOUND = Recipe(
    head="linear",
    features="both",
    standardise=True,
    optimizer="adamw",
    lr=3e-3,
    lr_for="1000 inputs",
    weight_decay=0.1,
    schedule="cosine",
    epochs=100,
    batch_size=None,
    patience=30,
    selection="loss",
    mean_over="known",
)
# Published system, 6.1: one modality, one target.
PUBLISHED_SINGLE = Recipe(
    head="ClsHead",
    features="cls",
    standardise=False,
    optimizer="adamw",
    lr=1e-3,
    lr_for="256 samples",
    weight_decay=0.05,
    schedule="cosine",
    epochs=100,
    batch_size=512,
    patience=None,
    selection="f1",
    mean_over="batch",
)
# Published system, 6.2: several targets or modalities; plain SGD with momentum 0.9.
PUBLISHED_MULTI = replace(PUBLISHED_SINGLE, optimizer="sgd", weight_decay=0.0, schedule="constant", batch_size=128)
# Published system, 6.5: biomarkers; targets raw, learning rate not scaled.
PUBLISHED_REGRESSION = replace(
    PUBLISHED_SINGLE,
    head="RegHead",
    lr_for="all",
    schedule="constant",
    epochs=500,
    batch_size=128,
    selection="relative_mae",
)
# Published system, 6.6: progression by a given day; nothing scaled, constant learning rate.
PUBLISHED_FORECAST = replace(
    PUBLISHED_MULTI, head="ForecastHead", features="patch_mean", lr_for="all", epochs=500, selection="f1"
)
# Outcomes say less than labels of what is seen: smaller steps, and a decay that holds a weight to a tenth. The encoded
# interval, of size 1, is added to the features: beside raw ones, or ones of deviation 1, it drowns what differs between
# images; beside far larger ones it is not heard.
FORECAST = replace(SOUND, head="ForecastHead", features="patch_mean", scale=3.0, lr=1e-3, weight_decay=10.0)
HAZARD = replace(SOUND, lr=5e-4, weight_decay=10.0)
COX = replace(HAZARD, batch_size=128)  # a batch of the partial likelihood is its own risk set: small ones say little
PROGRESSION = {"published": FORECAST, "hazard": HAZARD, "cox": COX}
SETTABLE = ("features", "epochs", "batch_size", "lr", "weight_decay", "patience", "modality_dropout", "class_weighting")


def choose(settings: TrainSettings) -> Recipe:
    """Return the recipe that the settings name, with the fields that they set."""
    if settings.kind == "progression":
        recipe = PUBLISHED_FORECAST if settings.recipe == "published" else PROGRESSION[settings.head or ""]
    elif settings.recipe == "sound":
        recipe = SOUND
    elif settings.kind == "regression":
        recipe = PUBLISHED_REGRESSION
    else:
        recipe = PUBLISHED_SINGLE if is_single(settings) else PUBLISHED_MULTI
    given = {name: getattr(settings, name) for name in SETTABLE if getattr(settings, name) is not None}
    return replace(recipe, **given)


def is_single(settings: TrainSettings) -> bool:
    """Tell the published single-modality task (one binary or multiclass target) from the multi-modality one."""
    types = [target.type for target in settings.targets.values()]
    return len(settings.modalities) == 1 and len(types) == 1 and types[0] in ("binary", "multiclass")
