"""What a recipe of dense decoders says: every hyper-parameter of their training.

The values lie in the recipes' files of segmentation and landmarks: `published` (docs/published-system.md, 6.3 and 6.4)
and `sound`, the default, for some ten images and more.
"""

import math
from typing import Literal

from pydantic import Field

from visionfm.config.base import Natural, Positive
from visionfm.config.recipe import Fixed, Recipe

STEPS_DOWN = 5  # how often schedule `step` halves the learning rate, evenly over the epochs


class DenseRecipe(Recipe):
    """How a dense decoder is built and trained."""

    head: Fixed[Literal["light", "unetr", "linear"]] = Field(description="the network; see the task's `head`")
    lr: float = Field(gt=0, description="learning rate")
    weight_decay: float = Field(ge=0, description="of AdamW")
    decay_all: Fixed[bool] = Field(description="biases and norms too")
    schedule: Literal["cosine", "step", "constant"] = Field(
        description="of the learning rate; step halves it every fifth of the epochs"
    )
    epochs: Positive = Field(description="at most; early stopping may end before")
    batch_size: Positive = Field(description="images per step")
    patience: Positive | None = Field(
        description="epochs without a better validation score before stopping; empty: all epochs"
    )
    augmentation: Literal["none", "flips", "affine", "rich"] = Field(
        description="flips use cached views; affine (published for landmarks) adds small affine maps, rich larger ones,"
        " scale and colour; both stream"
    )
    precision: Literal["fp32", "bf16"] = Field(description="arithmetic")
    class_weighting: Literal["none", "balanced"] = Field(description="balanced: rare classes weigh more")
    crop_px: Natural = Field(description="train on random squares of about this side; 0: on whole images")
    target_width: float = Field(
        ge=0, description="standard deviation of a target in px of the input; 0: one pixel, as published"
    )
    over_batch: Fixed[bool] = Field(
        description="Dice of all images of a batch together, so that those without a class count"
    )
    threshold: float | None = Field(
        gt=0,
        lt=1,
        description="two classes: the probability above which a pixel is of the second; empty: that of the best mean"
        " Dice on the validation images",
    )
    selection: Fixed[Literal["quality"]] = Field(
        description="on validation: mean Dice of the foreground, or minus the mean radial error"
    )

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        if self.schedule == "step":
            return float(self.lr * 0.5 ** (epoch // max(1, self.epochs // STEPS_DOWN)))
        return self.lr
