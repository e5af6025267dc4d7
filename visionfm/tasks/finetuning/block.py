"""Blocks inside the recipe of fine-tuning: which of the encoder's weights are trained."""

from typing import Annotated

from pydantic import Field, model_validator

from visionfm.config.base import Positive, Strict

Share = Annotated[float, Field(ge=0, le=1)]


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
