"""The plan of dense tasks: their masks or points, how they read images, their trainings and predictions."""

from typing import Any

from visionfm.data.layouts import answers
from visionfm.features.settings import TokenReading
from visionfm.images.settings import Reading
from visionfm.project.names import Names
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTrainSettings
from visionfm.tasks.runs import read_run


class MapsPlan:
    """Settings of dense tasks, which decode maps of patch tokens."""

    def __init__(self, names: Names) -> None:
        """`names` are those of the whole plan."""
        self.names = names
        self.config = names.config

    def _same(self, task: str, model: str) -> dict[str, Any]:
        """Return what the settings of `train` and `predict` have in common."""
        block, datasets = self.names.map_task(task), self.names.task_datasets(task)
        encoder_of = {name: self.names.encoder_of(model, name) for name in datasets}
        return {
            "kind": block.kind,
            "targets": block.dense_targets(),
            "modalities": self.names.task_modalities(task),
            "datasets": {name: reading(self.names, encoder, name) for name, encoder in encoder_of.items()},
            "size": block.image_size,
            "swaps": block.mirrored(),
            "tile_overlap": block.overlap(),
            "device": block.training.device,
            "threads": block.training.resources.threads or 2,
        }

    def train_settings(self, task: str, model: str, run: str) -> DenseTrainSettings:
        """Return the settings of `train` for one run of a dense task."""
        block = self.names.map_task(task)
        return DenseTrainSettings(
            **self._same(task, model),
            seed=read_run(run).seed or 0,
            recipe_name=block.training.recipe,
            recipe=block.recipe(),
            checkpoint_minutes=block.training.checkpoint_minutes,
        )

    def predict_settings(self, task: str, model: str, run: str) -> DensePredictSettings:
        """Return the settings of `predict` for one run of a dense task."""
        block = self.names.map_task(task)
        return DensePredictSettings(
            **self._same(task, model),
            task=task,
            model=model,
            run=run,
            probabilities=block.writes_probabilities(),
            tta=block.tta,
        )


def reading(names: Names, encoder: str, dataset: str) -> TokenReading:
    """Return how a dataset's images become an encoder's input."""
    block, images = names.config.encoders[encoder], names.config.datasets[dataset]
    return TokenReading(
        **dict(block.resizing()),
        **dict(Reading.of(images)),
        precision=block.arithmetic(),
        dtype=block.cache,
        modality=names.seen_as(encoder, dataset),
    )


def mask_values(names: Names, dataset: str) -> dict[str, list[int]]:
    """Return, for each task that reads a dataset's masks, the pixel values that are its classes."""
    block = names.config.datasets[dataset]
    if block.labels == "none" or not (answers(block.layout) == "masks" or block.columns.mask or block.columns.masks):
        return {}
    tasks = names.config.tasks.items()
    return {name: task.mask_values() for name, task in tasks if task.has_masks and dataset in names.task_datasets(name)}
