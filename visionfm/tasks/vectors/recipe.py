"""What a recipe of heads on feature vectors says; fine-tuning adds to it.

The values lie in the recipes' files: `sound` here, for a few hundred images and more; what a kind trains otherwise, and
the published recipes, in the kinds' own folders.
"""

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from visionfm.config.base import Positive
from visionfm.config.recipe import Fixed, read_recipe
from visionfm.config.recipe import Recipe as AnyRecipe

SOUND = Path(__file__).resolve().parent / "recipes" / "sound.yaml"
ATTENTIVE = SOUND.with_name("attentive.yaml")
SMALL_BATCH, LARGE_BATCH = 32, 512
STEPS_PER_EPOCH = 20


class HeadRecipe(AnyRecipe):
    """How a head is built and trained, on a frozen encoder or with it."""

    head: Fixed[Literal["linear", "ClsHead", "RegHead", "ForecastHead", "cumulative", "corn", "attentive"]] = Field(
        description="the network"
    )
    features: Literal["cls", "last_cls", "patch_mean", "both", "tokens", "auto"] = Field(
        description="which features of the encoder. cls: the CLS tokens of its last four blocks; last_cls: that of the "
        "last one; both: cls and the mean of all patches; auto: validation chooses among these four; tokens, of every "
        "patch, are for `head: attentive` alone"
    )
    standardise: Fixed[bool] = Field(
        description="features by modality and, in regression, targets; both on the training rows"
    )
    optimizer: Fixed[Literal["adamw", "sgd"]] = Field(description="sgd has momentum 0.9")
    lr: float = Field(gt=0, description="learning rate")
    lr_for: Fixed[Literal["all", "256 samples", "1000 inputs"]] = Field(
        description="what lr is meant for: it scales with the batch size, or with 1/sqrt(number of inputs)"
    )
    weight_decay: float = Field(ge=0, description="of AdamW")
    schedule: Fixed[Literal["cosine", "constant"]] = Field(description="of the learning rate")
    epochs: Positive = Field(description="at most; early stopping may end before")
    batch_size: Positive | None = Field(
        description=f"samples per step; empty: {SMALL_BATCH}, growing with the training set to {LARGE_BATCH}"
    )
    patience: Positive | None = Field(
        description="epochs without a better validation loss before stopping; empty: all epochs"
    )
    selection: Fixed[Literal["loss", "f1", "auroc", "relative_mae"]] = Field(
        description="what the best epoch is chosen by, on validation"
    )
    mean_over: Fixed[Literal["known", "batch"]] = Field(
        description="what a loss is divided by where labels are unknown"
    )
    class_weighting: Literal["none", "balanced"] = Field(description="balanced: rare classes weigh more")
    label_smoothing: float = Field(ge=0, lt=1, description="of classes, in training alone")

    @model_validator(mode="after")
    def _head_reads(self) -> "HeadRecipe":
        if (self.head == "attentive") != (self.features == "tokens"):
            raise ValueError("`features: tokens` and `head: attentive` go together")
        return self

    def batch(self, samples: int) -> int:
        """Return the batch size for a number of training samples."""
        if self.batch_size is not None:
            return self.batch_size
        return min(max(SMALL_BATCH, samples // STEPS_PER_EPOCH), LARGE_BATCH)


class Recipe(HeadRecipe):
    """How a decoder on cached features is built and trained."""

    modality_dropout: float = Field(ge=0, lt=1, description="chance that a modality is hidden in training")
    scale: Fixed[float] = Field(gt=0, description="the standard deviation of standardised features")

    @property
    def threads(self) -> int:
        """The number of CPU threads, always the same: a small head is slowed down by a second one."""
        return 2 if self.head in ("ClsHead", "RegHead") else 1

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


def sound() -> Recipe:
    """Return recipe `sound` as it is."""
    return read_recipe(Recipe, SOUND)
