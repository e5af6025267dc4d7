"""The settings of dense tasks: their cache of patch tokens, their training, their predictions."""

from typing import Literal

from pydantic import Field

from visionfm.config.settings import Settings
from visionfm.features.settings import TokenReading
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.settings import FitSettings


class DenseTarget(Settings):
    """A mask with its classes (`values[i]`: the pixel values that mean class i), or a point."""

    column: str
    classes: list[str] = Field([])
    values: list[list[int]] = Field([])
    weight: float = 1.0


class DenseTrainSettings(FitSettings):
    """Of `train`, for dense tasks."""

    targets: dict[str, DenseTarget]
    datasets: dict[str, TokenReading]
    size: int = 512
    swaps: list[list[str]] = Field([])
    tile_overlap: float | None = None
    recipe: DenseRecipe
    threads: int = 2  # of the CPU; the last bits of a sum can depend on it


class DensePredictSettings(Settings):
    """Of `predict`, for dense tasks; `targets` name the outputs of a published decoder file, which carries none.

    `size`, `swaps`, `tile_overlap` and `targets` are the decoder's own where its file says them.
    """

    task: str = ""
    model: str = ""
    run: str = ""
    kind: str
    targets: dict[str, DenseTarget] = Field({})
    modalities: list[str] = Field([])
    datasets: dict[str, TokenReading] = Field({})
    size: int = 512
    swaps: list[list[str]] = Field([])
    tile_overlap: float | None = None
    probabilities: bool = True  # whether the archive of probability maps is filled
    tta: Literal["none", "flips"] = "none"
    splits: list[str] = Field(["validation", "test"])
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 2


def reading_of(settings: DenseTrainSettings | DensePredictSettings, dataset: str) -> TokenReading:
    """Return how a dataset's images are read; those of no config by default."""
    return settings.datasets.get(dataset, TokenReading())
