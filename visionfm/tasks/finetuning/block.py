"""What fine-tuning adds to `training`: a mode, what is trained, and every switch of its recipes."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Natural, Positive, Strict

Share = Annotated[float, Field(ge=0, le=1)]
KINDS = ("classification", "regression")


class Lora(Strict):
    """Low-rank adapters beside the attention's linear layers."""

    rank: Positive = Field(8, description="of the adapters")
    alpha: float | None = Field(None, gt=0, description="their scale; default: twice the rank")


class Trainable(Strict):
    """Which of the encoder's weights move, where not all do."""

    last: Positive | None = Field(None, description="the last so many blocks, and the norm after them")
    lora: Lora | None = Field(None, description="adapters alone; they are merged into the encoder that is written")

    @model_validator(mode="after")
    def _one(self) -> "Trainable":
        if (self.last is None) == (self.lora is None):
            raise ValueError("needs one of `last: N` and `lora: {rank: 8}`")
        return self


class FinetuningSwitches(Strict):
    """Keys of fine-tuning; unset values are the recipe's own."""

    trainable: Literal["all"] | Trainable | None = Field(None, description="fine-tuning: which encoder weights move")
    probe_first: bool | None = Field(
        None,
        description="fine-tuning: train the head alone on frozen features first: epoch 0, which validation may choose;"
        " default in recipe modern",
    )
    encoder_lr: float | None = Field(None, gt=0, description="fine-tuning: the encoder's learning rate, in parts of lr")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="fine-tuning: each block learns by this factor slower than the one after it"
    )
    warmup_epochs: float | None = Field(None, ge=0, description="fine-tuning: linear rise of the learning rate")
    crop_scale: list[float] | None = Field(
        None, min_length=2, max_length=2, description="fine-tuning: smallest and largest part of the image in a crop"
    )
    mixup: float | None = Field(None, ge=0, description="fine-tuning: alpha of mixup; 0 switches it off")
    cutmix: float | None = Field(None, ge=0, description="fine-tuning: alpha of cutmix; 0 switches it off")
    randaugment: str | Literal[False] | None = Field(
        None, description="fine-tuning: timm's RandAugment by its text, such as `rand-m9-mstd0.5-inc1`; false: none"
    )
    random_erasing: Share | None = Field(None, description="fine-tuning: chance that a rectangle is erased")
    label_smoothing: float | None = Field(None, ge=0, lt=1, description="fine-tuning: of classes")
    drop_path: float | None = Field(None, ge=0, lt=1, description="fine-tuning: stochastic depth, rising to this")
    ema: float | None = Field(
        None, ge=0, lt=1, description="fine-tuning: decay of the weights' moving average, which is used; 0: none"
    )
    class_balanced: bool | None = Field(
        None, description="fine-tuning: draw the classes of the first target equally often"
    )
    accumulate: Positive | None = Field(None, description="fine-tuning: parts that a batch is worked through in")
    compile: bool | None = Field(None, description="fine-tuning: torch.compile the encoder")
    checkpoint_activations: bool | None = Field(
        None, description="fine-tuning: compute activations twice instead of keeping them"
    )
    workers: Natural | None = Field(None, description="fine-tuning: processes that decode images; default 2")


def finetuning_problem(task: Any) -> str | None:
    """Return what is wrong with a task's block as far as fine-tuning is concerned, or None."""
    training = task.training
    if training.mode == "frozen":
        given = [name for name in FinetuningSwitches.model_fields if name in training.model_fields_set]
        if given or training.recipe == "modern":
            return f"only `training: {{mode: finetune}}` has {', '.join([*given, 'recipe modern'][:1])}"
        return None
    if task.kind not in KINDS:
        return f"only {' and '.join(KINDS)} can be fine-tuned"
    if task.unit != "image" or task.fusion != "pooled":
        return "fine-tuning has unit image and fusion pooled"
    if training.recipe_name == "sound":
        return "fine-tuning has the recipes modern and published; sound is of frozen features"
    if training.modality_dropout is not None:
        return "fine-tuning has no modality_dropout"
    smoothed = training.label_smoothing or training.class_balanced or training.class_weighting == "balanced"
    if task.kind == "regression" and smoothed:
        return "label_smoothing, class_balanced and class_weighting are of classes"
    return None
