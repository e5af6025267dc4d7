"""What the blocks of tasks on patch tokens (masks, points) have in common."""

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from visionfm.config.base import Positive, Strict
from visionfm.config.recipe import given_keys, read_recipe
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.settings import DenseTarget

DENSE_SIZE_PX = 512
ALL_VIEWS = ("identity", "h", "v", "hv")


class DenseCache(Strict):
    """How much disk the patch tokens of one dataset may take."""

    max_gb: float = Field(20, gt=0, description="above it nothing is cached and training encodes in its loop")


class MapTask(TaskBlock):
    """A task that predicts maps of the image, from patch tokens."""

    unit: Literal["image"] = Field("image", description="a sample is an image")
    fusion: Literal["pooled"] = Field("pooled", description="one decoder over the images of all modalities")
    image_size: Positive = Field(DENSE_SIZE_PX, description="side of the square input in px")
    head: Literal["light", "unetr", "linear"] | None = Field(
        None, description="light, or the published unetr and linear; default: light, in recipe published unetr"
    )
    dense_cache: DenseCache = Field(DenseCache(), description="the budget of cached patch tokens")

    flips: ClassVar[tuple[str, ...]] = ALL_VIEWS  # the views of an image that mean the same

    @abstractmethod
    def dense_targets(self) -> dict[str, DenseTarget]:
        """Return the mask or points."""

    @abstractmethod
    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values."""

    def recipe(self) -> DenseRecipe:
        """Return the recipe with what the block sets."""
        given = given_keys(self.training, DenseRecipe)
        given |= {} if self.head is None else {"head": self.head}
        return read_recipe(DenseRecipe, self.recipe_file(self.training.recipe, ()), given)

    def views(self, trained_on: bool) -> tuple[str, ...]:
        """Return the views that it reads of a dataset."""
        flips = self.tta == "flips" or (trained_on and self.recipe().augmentation == "flips")
        return self.flips if flips else self.flips[:1]

    def writes_probabilities(self) -> bool:
        """Tell whether it writes probability maps."""
        return False

    def overlap(self) -> float | None:
        """Return how much tiles overlap; None where images are resized as a whole."""
        return None

    def mirrored(self) -> list[list[str]]:
        """Return the pairs of points that change places in a mirror image."""
        return []
