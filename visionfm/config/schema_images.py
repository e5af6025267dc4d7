"""How pretraining sees images: the crops and their augmentation, and packs of pre-shrunk images.

The values of `Augment` are the published ones, where its switches for eyes are off.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from visionfm.config.schema_base import ModalityName, Natural, Positive, Strict

Chance = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
SMALLEST_PACK_PX = 64


class Pack(Strict):
    """Write a dataset's images once, pre-shrunk, into few large files; pretraining reads these."""

    size: Annotated[int, Field(ge=SMALLEST_PACK_PX)] = Field(
        512, description="shorter side in px; smaller images stay as they are"
    )


class Augment(Strict):
    """Random crops and colours of pretraining."""

    global_crops: Annotated[int, Field(ge=2)] = Field(2, description="large crops an image")
    global_scale: Range = Field([0.32, 1.0], description="their share of the image's area, lowest and highest")
    global_ratio: Range = Field([0.8, 1.2], description="their width to height before they are made square")
    local_crops: Natural = Field(0, description="small crops an image, seen by the student alone")
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
