"""The plan of dense tasks: their masks or points, how they read images, their trainings and predictions."""

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

    def _readings(self, task: str, model: str) -> dict[str, TokenReading]:
        names = self.names.task_datasets(task)
        return {name: reading(self.names, self.names.encoder_of(model, name), name) for name in names}

    def train_settings(self, task: str, model: str, run: str) -> DenseTrainSettings:
        """Return the settings of `train` for one run of a dense task."""
        block = self.names.map_task(task)
        return DenseTrainSettings(
            kind=block.kind,
            targets=block.dense_targets(),
            modalities=self.names.task_modalities(task),
            datasets=self._readings(task, model),
            size=block.image_size,
            swaps=block.mirrored(),
            tile_overlap=block.overlap(),
            seed=read_run(run).seed or 0,
            recipe_name=block.training.recipe,
            recipe=block.recipe(),
            device=block.training.device,
            threads=block.training.resources.threads or 2,
            checkpoint_minutes=block.training.checkpoint_minutes,
        )

    def predict_settings(self, task: str, model: str, run: str) -> DensePredictSettings:
        """Return the settings of `predict` for one run of a dense task."""
        block = self.names.map_task(task)
        return DensePredictSettings(
            task=task,
            model=model,
            run=run,
            kind=block.kind,
            targets=block.dense_targets(),
            modalities=self.names.task_modalities(task),
            datasets=self._readings(task, model),
            size=block.image_size,
            swaps=block.mirrored(),
            tile_overlap=block.overlap(),
            probabilities=block.writes_probabilities(),
            tta=block.tta,
            device=block.training.device,
            threads=block.training.resources.threads or 2,
        )


def reading(names: Names, encoder: str, dataset: str) -> TokenReading:
    """Return how a dataset's images become an encoder's input."""
    block, images = names.config.encoders[encoder], names.config.datasets[dataset]
    return TokenReading(
        **dict(block.resizing()),
        **dict(Reading.of(images)),
        precision=block.precision,
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
