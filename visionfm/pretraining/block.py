"""Keys of the block `pretrain`: whose images, what it starts from, how and where it trains.

Every hyper-parameter of `recipe.py` is a key too: what is not set is the recipe's own.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, create_model, model_validator

from visionfm.config import recipe as recipes
from visionfm.config.base import Name, Natural, Positive, Resources, Strict
from visionfm.pretraining.recipe import FAMILIES, RECIPES, ContinuedRecipe, Recipe


class Knn(Strict):
    """A look at the encoder while it trains: k-NN on a labelled dataset's training and validation images."""

    dataset: Name = Field(description="a labelled dataset; its test images are not used")
    target: Name = Field(description="a label with few values")
    every: Positive = Field(10, description="epochs between two looks")
    k: Positive = Field(20, description="neighbours")


class PretrainBase(Strict):
    """Train the encoder from images of its modality."""

    datasets: list[Name] = Field(min_length=1, description="whose images are trained on, all of them, whatever split")
    arch: str | None = Field(None, description="a timm ViT; not needed where `init` or `timm` tells it")
    init: str | None = Field(None, description="start from this weights file, of any dialect that `import` knows")
    init_key: str | None = Field(None, description="the entry of that file to take, where it holds several")
    timm: str | None = Field(None, description="start from timm's weights of this model; they are downloaded")
    scheme: Literal["single", "mix"] = Field(
        "single", description="mix: one encoder for several modalities, each image normalised by its own"
    )
    recipe: Literal["published", "modern", "token_reconstruction", "instances"] = Field(
        "published", description="sets every field below that is not set; the last two continue from given weights"
    )
    compile: bool = Field(False, description="compile the networks; changes speed alone")
    activation_checkpointing: bool = Field(False, description="less memory for a third more time")
    fsdp: bool = Field(False, description="shard networks and optimizer over the GPUs (ViT-L and larger)")
    checkpoint_minutes: float = Field(20, gt=0, description="progress is saved this often, and after each epoch")
    workers: Natural | None = Field(
        None, description="processes per GPU that decode and augment; default: 4 on a CPU, else one for each core"
    )
    device: Literal["auto", "cpu", "cuda"] | None = Field(None, description="where it trains; default: the encoder's")
    knn: Knn | None = Field(None, description="k-NN on a labelled dataset every few epochs")
    monitors: list[Literal["tensorboard", "wandb"]] = Field([], description="also send the curves there")
    resources: Resources = Field(Resources(), description="of the `pretrain` job")

    @model_validator(mode="after")
    def _whole(self) -> "PretrainBase":
        if self.init is not None and self.timm is not None:
            raise ValueError("starts from one of init (a file) or timm (a name)")
        if self.from_nothing and self.arch is None:
            raise ValueError("needs arch, a timm architecture, or weights to start from (init, timm)")
        recipe = self.recipe_values()
        if self.from_nothing and isinstance(recipe, ContinuedRecipe):
            raise ValueError(f"recipe {self.recipe} continues from given weights: set init (a file) or timm (a name)")
        if self.init is None and (self.init_key is not None or getattr(recipe, "init_head", False)):
            raise ValueError("init_key and init_head belong to `init`, a weights file")
        return self

    @property
    def from_nothing(self) -> bool:
        """Tell whether training begins with random weights."""
        return self.init is None and self.timm is None

    def recipe_values(self) -> Recipe:
        """Return the recipe with the fields that the block sets; ValueError for those that it does not have."""
        family = FAMILIES[self.recipe]
        given = {name: value for model in KINDS for name, value in recipes.given_keys(self, model).items()}
        if foreign := [name for name in given if name not in family.model_fields]:
            having = [name for name, model in FAMILIES.items() if foreign[0] in model.model_fields]
            raise ValueError(f"recipe {self.recipe} has no `{foreign[0]}`; it belongs to {' and '.join(having)}")
        return recipes.read_recipe(family, RECIPES / f"{self.recipe}.yaml", given)


KINDS = list(dict.fromkeys(FAMILIES.values()))
if TYPE_CHECKING:
    Pretrain = PretrainBase
else:
    _keys = {name: key for model in KINDS for name, key in recipes.optional_keys(model).items()}
    Pretrain = create_model("Pretrain", __base__=PretrainBase, __doc__=PretrainBase.__doc__, **_keys)
