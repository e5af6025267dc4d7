"""Recipes of fine-tuning: every hyper-parameter, by name.

`published` is docs/published-system.md, 7: AdamW on everything, the encoder at a tenth of the head's learning rate,
cosine by epoch, random crops and flips, the epoch with the best validation AUROC. It is of classification; a regression
takes the published regression head and loss with it. `modern` is what fine-tunes well on little data; every switch of
it can be set in the config.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from visionfm.tasks.finetuning.block import Lora, Trainable
from visionfm.tasks.finetuning.settings import FinetuneSettings
from visionfm.tasks.vectors.recipes import SETTABLE, Recipe

SWITCHES = (
    *(
        "probe_first",
        "encoder_lr",
        "layer_decay",
        "warmup_epochs",
        "mixup",
        "cutmix",
        "random_erasing",
        "label_smoothing",
    ),
    *("drop_path", "ema", "class_balanced", "precision", "accumulate", "compile", "checkpoint_activations"),
)


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(Recipe):
    """How an encoder and its head are trained together."""

    encoder_lr: float  # the encoder's learning rate, in parts of the head's
    layer_decay: float = 1.0
    warmup_epochs: float = 0.0
    lr_by: Literal["epoch", "step"] = "step"
    probe_first: bool = False  # the head is first trained alone, on standardised frozen features: the first candidate
    decay_all: bool = False  # biases, norms and tokens too
    exact_decode: bool = False
    crop_scale: tuple[float, float] = (0.08, 1.0)
    mixup: float = 0.0
    cutmix: float = 0.0
    randaugment: str | None = None
    random_erasing: float = 0.0
    drop_path: float = 0.0
    ema: float = 0.0
    class_balanced: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulate: int = 1
    compile: bool = False
    checkpoint_activations: bool = False
    last: int | None = None  # blocks that move; None: all
    lora: Lora | None = None

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


PUBLISHED = FinetuneRecipe(
    head="ClsHead",
    features="cls",
    standardise=False,
    optimizer="adamw",
    lr=1e-3,
    lr_for="256 samples",
    weight_decay=0.05,
    schedule="cosine",
    epochs=100,
    batch_size=128,
    patience=None,
    selection="auroc",
    mean_over="batch",
    encoder_lr=0.1,
    lr_by="epoch",
    decay_all=True,
    exact_decode=True,
)
PUBLISHED_REGRESSION = replace(PUBLISHED, head="RegHead", selection="relative_mae")
MODERN = FinetuneRecipe(
    head="linear",
    features="both",
    standardise=True,  # features, and a regression's targets
    optimizer="adamw",
    lr=1e-3,
    lr_for="256 samples",
    weight_decay=0.05,
    schedule="cosine",
    epochs=50,
    batch_size=32,
    patience=10,
    selection="loss",
    mean_over="known",
    encoder_lr=1.0,
    probe_first=True,
    layer_decay=0.75,
    warmup_epochs=5.0,
    crop_scale=(0.5, 1.0),
    random_erasing=0.25,
    label_smoothing=0.1,
    drop_path=0.1,
)


def choose(settings: FinetuneSettings) -> FinetuneRecipe:
    """Return the recipe that the settings name, with the fields that they set."""
    recipe = MODERN
    if settings.recipe == "published":
        recipe = PUBLISHED_REGRESSION if settings.kind == "regression" else PUBLISHED
    if settings.kind == "regression":
        recipe = replace(recipe, label_smoothing=0.0)
    given: dict[str, Any] = {
        name: getattr(settings, name)
        for name in (*SETTABLE, *SWITCHES)
        if name != "modality_dropout" and getattr(settings, name) is not None
    }
    if settings.epochs is not None and settings.warmup_epochs is None:
        given["warmup_epochs"] = min(recipe.warmup_epochs, settings.epochs / 10)
    if settings.randaugment is not None:
        given["randaugment"] = settings.randaugment or None
    if settings.crop_scale is not None:
        given["crop_scale"] = (settings.crop_scale[0], settings.crop_scale[1])
    if isinstance(settings.trainable, Trainable):
        given |= {"last": settings.trainable.last, "lora": settings.trainable.lora}
    return replace(recipe, **given)
