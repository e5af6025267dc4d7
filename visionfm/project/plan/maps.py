"""The plan of dense tasks: their masks or points, how they read images, their trainings and predictions."""

from visionfm.config.recipe import given_keys, read_recipe
from visionfm.data.layouts import answers
from visionfm.features.settings import TokenReading
from visionfm.images.settings import Reading
from visionfm.project.names import Names
from visionfm.tasks.block import Task
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTarget, DenseTrainSettings
from visionfm.tasks.runs import read_run
from visionfm.tasks.target import Target

ALL_VIEWS = ["identity", "h", "v", "hv"]


class MapsPlan:
    """Settings of dense tasks, which decode maps of patch tokens."""

    def __init__(self, names: Names) -> None:
        """`names` are those of the whole plan."""
        self.names = names
        self.config = names.config

    def targets(self, task: str) -> dict[str, DenseTarget]:
        """Return a dense task's mask or points."""
        return mask_targets(self.config.tasks[task])

    def _readings(self, task: str, model: str) -> dict[str, TokenReading]:
        names = self.names.task_datasets(task)
        return {name: reading(self.names, self.names.encoder_of(model, name), name) for name in names}

    def train_settings(self, task: str, model: str, run: str) -> DenseTrainSettings:
        """Return the settings of `train` for one run of a dense task."""
        block = self.config.tasks[task]
        return DenseTrainSettings(
            kind=block.kind,
            targets=self.targets(task),
            modalities=self.names.task_modalities(task),
            datasets=self._readings(task, model),
            size=self.names.dense_size(task),
            swaps=block.swaps,
            tile_overlap=block.tile_overlap,
            seed=read_run(run).seed or 0,
            recipe_name=block.training.recipe,
            recipe=dense_recipe(block),
            device=block.training.device,
            threads=block.training.resources.threads or 2,
            checkpoint_minutes=block.training.checkpoint_minutes,
        )

    def predict_settings(self, task: str, model: str, run: str) -> DensePredictSettings:
        """Return the settings of `predict` for one run of a dense task."""
        block = self.config.tasks[task]
        return DensePredictSettings(
            task=task,
            model=model,
            run=run,
            kind=block.kind,
            targets=self.targets(task),
            modalities=self.names.task_modalities(task),
            datasets=self._readings(task, model),
            size=self.names.dense_size(task),
            swaps=block.swaps,
            tile_overlap=block.tile_overlap,
            probabilities=self.names.has_probabilities(task),
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


def mask_targets(task: Task) -> dict[str, DenseTarget]:
    """Return a dense task's mask or points."""
    found = {}
    for name, target in task.targets.items():
        classes, values = _mask_classes(target)
        found[name] = DenseTarget(
            column=target.column or name,
            classes=classes,
            values=values,
            weight=target.weight,
        )
    return found


def tubular_targets(task: Task) -> list[str]:
    """Return the targets whose masks are of vessels, which the metrics measure by their centre lines too."""
    if task.kind != "segmentation":
        return []
    return [name for name, t in task.targets.items() if ("vessel" in name if t.tubular is None else t.tubular)]


def mask_values(names: Names, dataset: str) -> dict[str, list[int]]:
    """Return, for each task that reads a dataset's masks, the pixel values that are its classes."""
    block = names.config.datasets[dataset]
    if block.labels == "none" or not (answers(block.layout) == "masks" or block.columns.mask):
        return {}
    tasks = [name for name, task in names.config.tasks.items() if task.kind == "segmentation"]
    return {
        task: sorted(value for values in target.values for value in values)
        for task in tasks
        if dataset in names.task_datasets(task)
        for target in mask_targets(names.config.tasks[task]).values()
    }


def read_views(task: Task, trained_on: bool) -> list[str]:
    """Return the views that a task reads of a dataset; of landmarks only left and right change places."""
    flips = task.tta == "flips" or (trained_on and dense_recipe(task).augmentation == "flips")
    return (ALL_VIEWS if task.kind == "segmentation" else ALL_VIEWS[:2]) if flips else ALL_VIEWS[:1]


def dense_recipe(task: Task) -> DenseRecipe:
    """Return the recipe of a dense task with what its block sets."""
    given = given_keys(task.training, DenseRecipe)
    given |= {} if task.head is None else {"head": task.head}
    return read_recipe(DenseRecipe, task.recipe_file(task.training.recipe, ()), given)


def _mask_classes(target: Target) -> tuple[list[str], list[list[int]]]:
    given = target.classes
    if given is None:
        return [], []
    if isinstance(given, int):
        return [str(index) for index in range(given)], [[index] for index in range(given)]
    names = [str(name) for name in given]
    listed = given if isinstance(given, list) else list(given.values())
    return names, [[int(v) for v in (one if isinstance(one, list) else [one])] for one in listed]
