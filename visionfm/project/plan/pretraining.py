"""The plan of pretraining: how it sees images, packs of them, and the settings of the encoders that it trains."""

from collections.abc import Iterable
from typing import Literal

from visionfm.config.base import Statistics
from visionfm.images.settings import DatasetReading
from visionfm.modalities import IMAGENET_MEAN, IMAGENET_STD, MODALITIES
from visionfm.pretraining.block import Pretrain
from visionfm.pretraining.settings import (
    CPU_WORKERS,
    ImageSetSettings,
    MeasureSettings,
    PackSettings,
    PretrainSettings,
)
from visionfm.project.config import Encoder
from visionfm.project.names import Names


class PretrainingPlan:
    """Settings of the stages that train encoders from images alone, and measure these."""

    def __init__(self, names: Names) -> None:
        """`names` are those of the whole plan."""
        self.names = names
        self.config = names.config

    def image_sets(self, datasets: Iterable[str]) -> dict[str, ImageSetSettings]:
        """Return how pretraining sees the images of datasets."""
        blocks = {name: self.config.datasets[name] for name in datasets}
        return {
            name: ImageSetSettings(
                modality=self.names.modality(name),
                **dict(DatasetReading.of(block)),
                pack_px=None if block.pack is None else block.pack.size,
            )
            for name, block in blocks.items()
        }

    def pack_settings(self, dataset: str) -> PackSettings:
        """Return the settings of `pack`."""
        block = self.config.datasets[dataset]
        assert block.pack is not None, f"{dataset} has a pack: its rule was asked for"
        return PackSettings(size=block.pack.size, **dict(DatasetReading.of(block)))

    def block(self, encoder: str) -> Pretrain:
        """Return the `pretrain` block of an encoder that has one."""
        block = self.config.encoders[encoder].pretrain
        assert block is not None, f"{encoder} is pretrained: its rule was asked for"
        return block

    def pretrain_settings(self, encoder: str) -> PretrainSettings:
        """Return the settings of `pretrain`, the recipe spelled out."""
        whole, block = self.config.encoders[encoder], self.block(encoder)
        same = ["arch", "init", "init_key", "timm", "scheme", "compile", "activation_checkpointing", "fsdp"]
        same += ["checkpoint_minutes", "workers", "knn"]
        modalities = dict.fromkeys(self.names.modality(dataset) for dataset in block.datasets)
        return PretrainSettings(
            datasets=self.image_sets(block.datasets),
            statistics={name: self._training_statistics(whole, name) for name in modalities},
            recipe=block.recipe_values(),
            recipe_name=block.recipe,
            interpolation=whole.interpolation,
            device=block.device or whole.device,
            gpu=block.resources.gpu or 0,
            knn_images=None if block.knn is None else self.image_sets([block.knn.dataset])[block.knn.dataset],
            monitors=tuple(block.monitors),
            **{name: getattr(block, name) for name in same},
        )

    def measure_settings(self, encoder: str) -> MeasureSettings:
        """Return the settings of `measure`: whose images, seen as the encoder sees them."""
        block = self.config.encoders[encoder]
        return MeasureSettings(
            datasets=self.image_sets(self.names.measured_datasets(encoder)),
            every_split=tuple(block.trained_on),
            size=block.image_size,
            **dict(block.resizing()),
            workers=CPU_WORKERS if block.workers is None else block.workers,
        )

    def _training_statistics(self, encoder: Encoder, modality: str) -> Statistics | Literal["auto"]:
        """Return what normalises the images of a modality: the encoder's own choice, else the modality's."""
        if isinstance(encoder.statistics, Statistics):
            return encoder.statistics
        if encoder.statistics == "imagenet":
            return IMAGENET
        if encoder.statistics == "auto":
            return "auto"
        if (added := self.config.modalities.get(modality)) is not None:
            return added_statistics(added.statistics)
        published = MODALITIES[modality]
        return Statistics(mean=list(published.mean), std=list(published.std))


IMAGENET = Statistics(mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD))


def added_statistics(statistics: object) -> Statistics | Literal["auto"]:
    """Return the statistics of a modality that the config adds."""
    if isinstance(statistics, Statistics):
        return statistics
    return "auto" if statistics == "auto" else IMAGENET
