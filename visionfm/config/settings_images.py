"""Settings of the stages that feed pretraining: which images, and how they become pixels."""

from typing import Literal

from visionfm.config.settings import Settings


class ImageSetSettings(Settings):
    """A dataset's images as pretraining sees them."""

    modality: str
    frame: int | None = None
    max_megapixels: float = 200
    bad_images: Literal["fail", "skip"] = "fail"
    pack_px: int | None = None  # shorter side that larger images are shrunk to first; None: as they are


class PackSettings(Settings):
    """Of `pack`."""

    size: int
    frame: int | None = None
    max_megapixels: float = 200
    bad_images: Literal["fail", "skip"] = "fail"


class MeasureSettings(Settings):
    """Of `measure`: whose images, and how the encoder sees them."""

    datasets: dict[str, ImageSetSettings]
    every_split: tuple[str, ...] = ()  # datasets measured whole; of the others the training images alone
    size: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    exact_decode: bool = False
    workers: int = 2
