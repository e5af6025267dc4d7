"""What a recipe of pretraining says: the crops and their augmentation, and a model per family of recipes.

A family is what is learned: from a teacher that follows the student (`published`, `modern`), or from given weights
without one. The values of `Augment` are the published ones, where its switches for eyes are off.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from visionfm.config import recipe as recipes
from visionfm.config.base import ModalityName, Natural, Positive, Strict
from visionfm.encoders.adapters import Lora

Chance = Annotated[float, Field(ge=0, le=1)]


Range = Annotated[list[float], Field(min_length=2, max_length=2)]


class Augment(Strict):
    """Random crops and colours of pretraining."""

    global_crops: Positive = Field(2, description="large crops per image; a teacher needs two")
    global_scale: Range = Field([0.32, 1.0], description="their share of the image's area, lowest and highest")
    global_ratio: Range = Field([0.8, 1.2], description="their width to height before they are made square")
    local_crops: Natural = Field(0, description="small crops per image, seen by the student alone")
    local_size: Positive = Field(96, description="side of the local crops in px; must divide by the patch size")
    local_scale: Range = Field([0.05, 0.4], description="their share of the image's area")
    local_ratio: Range = Field([3 / 4, 4 / 3], description="their width to height")
    flip: Chance = Field(0.5, description="chance of mirroring left and right")
    jitter: Chance = Field(0.8, description="chance of a change of colours, by the next four")
    brightness: Chance = Field(0.4, description="factor up to 1 +- this")
    contrast: Chance = Field(0.4, description="factor up to 1 +- this")
    saturation: Chance = Field(0.2, description="factor up to 1 +- this")
    hue: float = Field(0.1, ge=0, le=0.5, description="turn of the colour circle up to +- this")
    grayscale: Chance = Field(0.2, description="chance of losing all colour")
    blur: list[Chance] = Field(
        [1.0, 0.1], min_length=2, max_length=2, description="chance of a blur: first global crop, further ones"
    )
    local_blur: Chance = Field(0.5, description="chance of a blur of local crops")
    blur_radius: Range = Field([0.1, 2.0], description="standard deviation of the blur in px")
    solarize: Chance = Field(0.2, description="chance of inverting all above half, from the second global crop on")
    keep_aspect: bool = Field(False, description="crops are squares of the image: nothing is stretched")
    fundus_circle: bool = Field(False, description="crops are taken from the lit circle of fundus photographs")
    spare_grey: bool = Field(False, description="no change of hue, saturation or colour on grey modalities")
    vertical_flip: Chance = Field(0.0, description="chance of mirroring top and bottom")
    upright: list[ModalityName] = Field(
        ["OCT", "UBM", "Ultrasound"], description="modalities that are never mirrored top and bottom: up is up"
    )
    decode: Literal["fast", "exact"] = Field(
        "fast", description="fast decodes a JPEG much larger than its crops need at a reduced scale"
    )

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Augment":
        for name in ("global_scale", "global_ratio", "local_scale", "local_ratio", "blur_radius"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} needs two numbers above 0, the lower one first")
        for name in ("global_scale", "local_scale"):
            if getattr(self, name)[1] > 1:
                raise ValueError(f"{name} is a share of the image's area: at most 1")
        return self


RECIPES = Path(__file__).resolve().parent / "recipes"


class Recipe(recipes.Recipe):
    """What every family has: how long, on which crops, in which steps the weights move."""

    method: ClassVar[str]  # in a sentence of a paper: "it was pretrained by ..."
    cited: ClassVar[str]  # what the paper's references call the family

    epochs: Positive = Field(description="passes over the images; warm-ups that do not fit become half of them")
    batch_size: Positive = Field(description="images per step, whatever the number of GPUs; at most all there are")
    micro_batch: Positive = Field(description="images a forward pass of one GPU: what memory allows")
    image_size: Positive = Field(description="side of the global crops in px")
    seed: Natural = Field(description="another seed, another training")
    precision: Literal["fp32", "bf16", "fp16"] = Field(description="arithmetic; fp16 scales the loss, on GPUs only")
    augment: Augment = Field(description="crops and their augmentation")
    registers: Natural = Field(description="register tokens; 0: as many as the weights have that it starts from")
    drop_path: float = Field(ge=0, lt=1, description="chance that the student skips its last block; less before it")
    lr: float = Field(gt=0, description="highest learning rate, for 256 images per step")
    min_lr: float = Field(ge=0, description="learning rate at the end")
    warmup_epochs: Natural = Field(description="epochs in which the learning rate rises")
    layer_decay: float = Field(gt=0, le=1, description="factor of the learning rate from each block to the one below")
    weight_decay: list[float] = Field(min_length=2, max_length=2, description="at the start, at the end")
    clip: float = Field(ge=0, description="largest norm of gradients; 0: as they are")
    clip_by: Literal["parameter", "all"] = Field(description="of each parameter's gradient, or of all together")
    log_steps: Positive = Field(description="steps per row of training.parquet; each epoch ends a row too")

    def size_in(self, _epoch: int) -> int:
        """Return the side of the global crops in px in an epoch, counted from 0."""
        return self.image_size


class HidingRecipe(Recipe):
    """Of families whose student does not see every patch."""

    mask_shape: Literal["block", "rand"] = Field(description="hidden patches: rectangles, or anywhere")
    mask_ratio: list[float] = Field(min_length=1, description="shares of hidden patches; each crop draws one")
    mask_spread: list[float] = Field(min_length=1, description="how far each share varies to both sides")
    mask_start_epoch: Natural = Field(description="epochs before anything is hidden")

    @model_validator(mode="after")
    def _masks_fit(self) -> "HidingRecipe":
        if len(self.mask_ratio) != len(self.mask_spread):
            raise ValueError("mask_ratio and mask_spread need one value for each other")
        if not all(r - v >= 0 and r + v <= 1 for r, v in zip(self.mask_ratio, self.mask_spread, strict=True)):
            raise ValueError("mask_ratio with mask_spread leaves 0 to 1")
        return self


class DistillationRecipe(HidingRecipe):
    """Views and hidden patches as a teacher sees them that follows the student (iBOT): `published`, `modern`."""

    method = "self-distillation with masked patches"
    cited = "distillation"

    head: Literal["shared", "last_layer", "separate"] = Field(
        description="CLS and patches share their head, have a last layer each, or a head each"
    )
    head_hidden: Positive = Field(description="width of the head's two hidden layers")
    head_bottleneck: Positive = Field(description="width before the last layer")
    out_dim: Positive = Field(description="prototypes of CLS tokens")
    patch_out_dim: Positive = Field(description="prototypes of patch tokens")
    centring: Literal["mean", "sinkhorn"] = Field(
        description="against collapse: subtract a running mean, or Sinkhorn-Knopp"
    )
    centre_momentum: float = Field(ge=0, lt=1, description="of the running mean")
    sinkhorn_iterations: Positive = Field(description="rounds of Sinkhorn-Knopp")
    student_temp: float = Field(gt=0, description="temperature of the student")
    teacher_temp: list[float] = Field(
        min_length=2, max_length=2, description="of the teacher's CLS token: first epoch, after its warm-up"
    )
    patch_temp: list[float] = Field(
        min_length=2, max_length=2, description="of the teacher's patch tokens: first epoch, after its warm-up"
    )
    temp_warmup_epochs: Natural = Field(description="epochs from the first to the second temperature")
    cls_weight: float = Field(ge=0, description="of the loss between views")
    patch_weight: float = Field(ge=0, description="of the loss on hidden patches")
    koleo_weight: float = Field(ge=0, description="of the loss that spreads the CLS tokens of a micro-batch (KoLeo)")
    momentum: list[float] = Field(min_length=2, max_length=2, description="of the teacher: at the start, at the end")
    frozen_last_layer_epochs: Natural = Field(description="epochs in which the head's last layer holds still")
    high_res_epochs: Natural = Field(description="last epochs with global crops of `high_res_size`")
    high_res_size: Positive = Field(description="side of the global crops in px in these epochs")
    init_head: bool = Field(description="also take the head of the file in `init`, which must fit")

    @model_validator(mode="after")
    def _fields_fit(self) -> "DistillationRecipe":
        if self.head == "shared" and self.out_dim != self.patch_out_dim:
            raise ValueError("a shared head has one width: set out_dim and patch_out_dim alike, or `head: last_layer`")
        if self.high_res_epochs >= self.epochs:
            raise ValueError("high_res_epochs are the last of `epochs`: there must be fewer")
        if min(*self.teacher_temp, *self.patch_temp) <= 0:
            raise ValueError("temperatures are above 0")
        if self.augment.global_crops < 2:
            raise ValueError("global_crops: a teacher and its student need two")
        return self

    def size_in(self, epoch: int) -> int:
        """Return the side of the global crops in px in an epoch, counted from 0."""
        return self.high_res_size if epoch >= self.epochs - self.high_res_epochs else self.image_size


class ContinuedRecipe(Recipe):
    """Of families that start from given weights and have no teacher that moves."""

    lora: Lora | None = Field(
        description="move low-rank adapters alone, merged into the encoder that is written; default: all weights move"
    )

    @model_validator(mode="after")
    def _no_local_crops(self) -> "ContinuedRecipe":
        if self.augment.local_crops:
            raise ValueError("local_crops belong to recipes with a teacher (published, modern)")
        return self


class TokenReconstructionRecipe(ContinuedRecipe, HidingRecipe):
    """The tokens that the given weights make of an image, from the image with noise and hidden patches.

    As RETFound-Green was trained (Engelmann and Bernabeu, 2024).
    """

    method = "predicting, from noisy images with hidden patches, the tokens that the weights made at first"
    cited = "token reconstruction"

    noise: float = Field(ge=0, description="standard deviation of the noise on pixels, in parts of each image's own")


class InstancesRecipe(ContinuedRecipe):
    """Each image is a class of its own, whatever crop is seen (DIET, Ibrahim et al., 2024; DIET-CP, 2025)."""

    method = "telling each image from all others, as a class of its own"
    cited = "instances"

    label_smoothing: float = Field(ge=0, lt=1, description="share of the target that all images have alike")
    head_lr: float = Field(gt=0, description="learning rate of the classifier, in parts of lr")


FAMILIES: dict[str, type[Recipe]] = {
    "published": DistillationRecipe,
    "modern": DistillationRecipe,
    "token_reconstruction": TokenReconstructionRecipe,
    "instances": InstancesRecipe,
}
