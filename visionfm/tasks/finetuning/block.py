"""Blocks inside the recipe of fine-tuning: which of the encoder's weights are trained."""

from typing import Annotated

from pydantic import Field, model_validator

from visionfm.config.base import Positive, Strict
from visionfm.encoders.adapters import Lora

Share = Annotated[float, Field(ge=0, le=1)]


class Trainable(Strict):
    """Which of the encoder's weights move, where not all do."""

    last: Positive | None = Field(None, description="the last so many blocks, and the norm after them")
    lora: Lora | None = Field(None, description="adapters alone; they are merged into the encoder that is written")

    @model_validator(mode="after")
    def _one(self) -> "Trainable":
        if (self.last is None) == (self.lora is None):
            raise ValueError("needs one of `last: N` and `lora: {rank: 8}`")
        return self
