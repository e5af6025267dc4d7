"""The settings of `import`."""

from typing import Literal

from visionfm.config.base import Statistics
from visionfm.config.settings import Settings
from visionfm.images.transforms import Interpolation

MEASURED = "visionfm/statistics/1"  # schema of what `measure` writes and `import` reads


class ImportSettings(Settings):
    """Of `import`."""

    modality: str
    weights: str | None = None
    timm: str | None = None
    key: str | None = None
    arch: str | None = None
    image_size: int = 224
    interpolation: Interpolation = "bilinear"
    statistics: Literal["weights", "modality", "imagenet", "auto"] | Statistics = "weights"
    modality_statistics: Statistics | None = None  # of `modality`, where the config adds it
    seed: int = 0
