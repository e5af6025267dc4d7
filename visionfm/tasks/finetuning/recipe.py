"""What a recipe of fine-tuning says: encoder and head trained together.

`published` is docs/published-system.md, 7: AdamW on everything, the encoder at a tenth of the head's learning rate,
cosine by epoch, random crops and flips, the epoch with the best validation AUROC. `modern` is what fine-tunes well on
little data.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Positive
from visionfm.config.recipe import Fixed, read_recipe
from visionfm.encoders.adapters import Lora
from visionfm.tasks.finetuning.block import Share, Trainable
from visionfm.tasks.vectors.recipe import HeadRecipe

RECIPES = Path(__file__).resolve().parent / "recipes"


class FinetuneRecipe(HeadRecipe):
    """How an encoder and its head are trained together."""

    trainable: Literal["all"] | Trainable = Field(description="which encoder weights move")
    probe_first: bool = Field(
        description="train the head alone on frozen features first: epoch 0, which validation may choose"
    )
    encoder_lr: float = Field(gt=0, description="the encoder's learning rate, in parts of lr")
    layer_decay: float = Field(gt=0, le=1, description="each block learns by this factor slower than the one after it")
    warmup_epochs: float = Field(
        ge=0, description="linear rise of the learning rate; where `epochs` alone is set, at most a tenth of them"
    )
    lr_by: Fixed[Literal["epoch", "step"]] = Field(description="how often the learning rate changes")
    decay_all: Fixed[bool] = Field(description="weight decay of biases, norms and tokens too")
    exact_decode: Fixed[bool] = Field(description="every pixel of a JPEG is decoded, whatever the encoder's `decode`")
    crop_scale: list[float] = Field(
        min_length=2, max_length=2, description="smallest and largest part of the image in a crop"
    )
    mixup: float = Field(ge=0, description="alpha of mixup; 0 switches it off")
    cutmix: float = Field(ge=0, description="alpha of cutmix; 0 switches it off")
    randaugment: str | Literal[False] = Field(
        description="timm's RandAugment by its text, such as `rand-m9-mstd0.5-inc1`; false: none"
    )
    random_erasing: Share = Field(description="chance that a rectangle is erased")
    drop_path: float = Field(ge=0, lt=1, description="stochastic depth, rising to this")
    ema: float = Field(ge=0, lt=1, description="decay of the weights' moving average, which is used; 0: none")
    class_balanced: bool = Field(description="draw the classes of the first target equally often")
    precision: Literal["fp32", "bf16"] = Field(description="arithmetic")
    accumulate: Positive = Field(description="parts that a batch is worked through in")
    compile: bool = Field(description="torch.compile the encoder")
    checkpoint_activations: bool = Field(description="compute activations twice instead of keeping them")

    @model_validator(mode="after")
    def _fields_fit(self) -> "FinetuneRecipe":
        if self.features not in ("cls", "patch_mean", "both"):
            raise ValueError(f"features: a moving encoder gives cls, patch_mean or both, not {self.features}")
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale: expected 0 < smallest <= largest <= 1, found {low:g}, {high:g}")
        if self.batch_size is not None and self.batch_size < 2 * self.accumulate:
            raise ValueError("batch_size: at least two samples in each of the parts it is accumulated from")
        return self

    @property
    def last(self) -> int | None:
        """The number of blocks that move; None where that is all of them, or adapters."""
        return None if self.trainable == "all" else self.trainable.last

    @property
    def lora(self) -> Lora | None:
        """The adapters that move, if those do."""
        return None if self.trainable == "all" else self.trainable.lora

    def lr_at(self, epoch: int, step: int, steps: int, batch_size: int) -> float:
        """Return the head's learning rate at a step of an epoch, both from 0: warm-up, then cosine to 0."""
        peak = self.lr * (batch_size / 256 if self.lr_for == "256 samples" else 1.0)
        done = float(epoch) if self.lr_by == "epoch" else epoch + step / steps
        if done < self.warmup_epochs:
            return peak * min(1.0, (done + 1 / steps) / self.warmup_epochs)
        if self.schedule == "constant":
            return peak
        left = max(self.epochs - self.warmup_epochs, 1e-9)
        return peak * 0.5 * (1 + math.cos(math.pi * (done - self.warmup_epochs) / left))


def finetune_recipe(path: Path, given: Mapping[str, Any]) -> FinetuneRecipe:
    """Return the recipe of a file with the values that are given; a warm-up fits into fewer epochs."""
    recipe = read_recipe(FinetuneRecipe, path, given)
    if "epochs" in given and "warmup_epochs" not in given:
        recipe = recipe.model_copy(update={"warmup_epochs": min(recipe.warmup_epochs, given["epochs"] / 10)})
    return recipe
