"""The config's block `training`: how a task's decoders are trained."""

from typing import Annotated, Literal

from pydantic import Field

from visionfm.config.schema_base import Positive, Resources
from visionfm.config.schema_dense import DenseTraining
from visionfm.config.schema_finetuning import FinetuningSwitches

PartOfAll = Annotated[float, Field(ge=0.0001, le=1)]


class Training(DenseTraining, FinetuningSwitches):
    """How a decoder is trained; unset values are the recipe's own."""

    mode: Literal["frozen", "finetune"] = Field(
        "frozen", description="frozen: a decoder on cached features; finetune: encoder and decoder, on the images"
    )
    recipe: Literal["sound", "modern", "published"] = Field(
        "sound",
        description="sound: frozen features of a few hundred images; modern: the default of fine-tuning; published: as "
        "the paper's code",
    )
    features: Literal["cls", "patch_mean", "both"] | None = Field(None, description="which cached features")
    epochs: Positive | None = Field(None, description="at most; early stopping may end before")
    batch_size: Positive | None = Field(None, description="samples a step")
    lr: float | None = Field(None, gt=0, description="learning rate")
    weight_decay: float | None = Field(None, ge=0, description="of AdamW")
    patience: Positive | None = Field(None, description="epochs without a better validation loss before stopping")
    modality_dropout: float | None = Field(None, ge=0, lt=1, description="chance that a modality is hidden in training")
    class_weighting: Literal["none", "balanced"] | None = Field(None, description="balanced: rare classes weigh more")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the decoder is trained")
    checkpoint_minutes: float = Field(10, gt=0, description="progress is saved this often")
    resources: Resources = Field(Resources(), description="of the `train` jobs")

    @property
    def recipe_name(self) -> Literal["sound", "modern", "published"]:
        """The recipe, or the default of its mode."""
        return "modern" if self.mode == "finetune" and "recipe" not in self.model_fields_set else self.recipe
