"""Settings of the stages that feed pretraining: which images, and how they become pixels."""

from typing import Any, Literal

from visionfm.config.base import Statistics
from visionfm.config.settings import Settings
from visionfm.images.settings import DatasetReading, Resizing
from visionfm.images.transforms import Interpolation
from visionfm.pretraining.block import Knn
from visionfm.pretraining.recipe import DistillationRecipe, InstancesRecipe, TokenReconstructionRecipe

CPU_WORKERS = 4  # processes that decode and augment where no GPU waits for them


class ImageSetSettings(DatasetReading):
    """A dataset's images as pretraining sees them."""

    modality: str
    pack_px: int | None = None  # shorter side that larger images are shrunk to first; None: as they are


class PackSettings(DatasetReading):
    """Of `pack`."""

    size: int


class MeasureSettings(Resizing):
    """Of `measure`: whose images, and how the encoder sees them."""

    datasets: dict[str, ImageSetSettings]
    every_split: tuple[str, ...] = ()  # datasets measured whole; of the others the training images alone
    size: int = 224
    workers: int = CPU_WORKERS


# What changes where, how fast or how visibly a training runs, but not what it computes (but for rounding).
MACHINE = (
    "compile",
    "activation_checkpointing",
    "fsdp",
    "checkpoint_minutes",
    "workers",
    "device",
    "gpu",
    "knn",
    "knn_images",
    "monitors",
)


class PretrainSettings(Settings):
    """Of `pretrain`."""

    datasets: dict[str, ImageSetSettings]
    statistics: dict[str, Statistics | Literal["auto"]]  # by modality; auto: measured when the training begins
    recipe: DistillationRecipe | TokenReconstructionRecipe | InstancesRecipe
    recipe_name: str = "published"
    arch: str | None = None
    init: str | None = None
    init_key: str | None = None
    timm: str | None = None
    scheme: Literal["single", "mix"] = "single"
    interpolation: Interpolation = "bilinear"  # of the finished encoder's extraction
    compile: bool = False
    activation_checkpointing: bool = False
    fsdp: bool = False
    checkpoint_minutes: float = 20
    workers: int | None = None  # as its device needs
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu: int = 0
    knn: Knn | None = None
    knn_images: ImageSetSettings | None = None
    monitors: tuple[Literal["tensorboard", "wandb"], ...] = ()

    @property
    def modalities(self) -> list[str]:
        """The modalities that it trains on."""
        return list(self.statistics)

    @property
    def modality(self) -> str:
        """The encoder's modality; `any` where it was trained on several."""
        return self.modalities[0] if self.scheme == "single" else "any"

    def identity(self, init_sha256: str | None) -> dict[str, Any]:
        """Return what decides which encoder this is; images and the stage's version are not part of it."""
        own = self.model_dump(mode="json", exclude={*MACHINE, "init"})
        own["recipe"] = {**own["recipe"], "log_steps": None}
        return {**own, "init_sha256": init_sha256}
