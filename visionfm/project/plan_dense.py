"""The plan of dense tasks: names and settings of their caches, trainings and predictions."""

from visionfm.features.settings import DenseSettings, Reading
from visionfm.project.names import Names
from visionfm.tasks.block import Task
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTarget, DenseTrainSettings
from visionfm.tasks.runs import read_run
from visionfm.tasks.target import Target

ALL_VIEWS = ["identity", "h", "v", "hv"]


class DensePlan(Names):
    """Names and settings that only dense tasks have."""

    def dense_settings(self, encoder: str, dataset: str, size: int) -> DenseSettings:
        """Return the settings of `dense`: four views where some task trains on the dataset with flips alone."""
        block = self.config.encoders[encoder]
        tasks = [
            task
            for name, task in self.config.tasks.items()
            if (encoder, dataset, size) in [found for model in task.models for found in self.dense_caches(name, model)]
        ]
        views = {view for task in tasks for view in _views(task, dataset in task.datasets)}
        return DenseSettings(
            **self._reading(encoder, dataset).model_dump(),
            size=size,
            views=[view for view in ALL_VIEWS if view in views],
            bad_images=self.config.datasets[dataset].bad_images,
            max_gb=max(task.dense_cache.max_gb for task in tasks),
            never=all(task.tile_overlap is not None for task in tasks),
            device=block.device,
            gpu=self.extract_gpu(encoder),
            workers=block.workers,
            max_rows=self.config.datasets[dataset].max_rows,
        )

    def _reading(self, encoder: str, dataset: str) -> Reading:
        block, images = self.config.encoders[encoder], self.config.datasets[dataset]
        return Reading(
            interpolation=block.interpolation,
            exact_decode=block.decode == "exact",
            precision=block.precision,
            dtype=block.cache,
            frame=images.frame,
            max_megapixels=images.max_megapixels,
        )

    def extract_gpu(self, encoder: str) -> int:
        """Return how many GPUs extraction asks for: those of the config, none on `device: cpu`, else one."""
        block = self.config.encoders[encoder]
        if block.resources.gpu is not None:
            return block.resources.gpu
        return 0 if block.device == "cpu" else 1

    def dense_targets(self, task: str) -> dict[str, DenseTarget]:
        """Return a dense task's mask or points."""
        found = {}
        for name, target in self.config.tasks[task].targets.items():
            classes, values = _mask_classes(target)
            found[name] = DenseTarget(
                column=target.column or name,
                classes=classes,
                values=values,
                weight=target.weight,
                tubular="vessel" in name if target.tubular is None else target.tubular,
            )
        return found

    def mask_values(self, dataset: str) -> dict[str, list[int]]:
        """Return, for each task that reads a dataset's masks, the pixel values that are its classes."""
        block = self.config.datasets[dataset]
        if block.labels == "none" or not (block.layout == "segmentation" or block.columns.mask):
            return {}
        tasks = [name for name, task in self.config.tasks.items() if task.kind == "segmentation"]
        return {
            task: sorted(value for values in target.values for value in values)
            for task in tasks
            if dataset in self.task_datasets(task)
            for target in self.dense_targets(task).values()
        }

    def _readings(self, task: str, model: str) -> dict[str, Reading]:
        return {name: self._reading(self.encoder_of(model, name), name) for name in self.task_datasets(task)}

    def dense_train_settings(self, task: str, model: str, run: str) -> DenseTrainSettings:
        """Return the settings of `train` for one run of a dense task."""
        block = self.config.tasks[task]
        unused = {"resources", "features", "modality_dropout"}
        chosen = block.training.model_dump(include=set(DenseTrainSettings.model_fields) - unused)
        return DenseTrainSettings(
            kind=block.kind,
            # How a mask is measured changes no decoder.
            targets={
                name: target.model_copy(update={"tubular": False}) for name, target in self.dense_targets(task).items()
            },
            modalities=self.task_modalities(task),
            datasets=self._readings(task, model),
            size=self.dense_size(task),
            head=block.head,
            swaps=block.swaps,
            tile_overlap=block.tile_overlap,
            seed=read_run(run).seed or 0,
            threads=block.training.resources.threads or 2,
            **chosen,
        )

    def dense_predict_settings(self, task: str, model: str, run: str) -> DensePredictSettings:
        """Return the settings of `predict` for one run of a dense task."""
        block = self.config.tasks[task]
        return DensePredictSettings(
            task=task,
            model=model,
            run=run,
            kind=block.kind,
            targets=self.dense_targets(task),
            modalities=self.task_modalities(task),
            datasets=self._readings(task, model),
            size=self.dense_size(task),
            swaps=block.swaps,
            tile_overlap=block.tile_overlap,
            probabilities=self.has_probabilities(task),
            tta=block.tta,
            device=block.training.device,
            threads=block.training.resources.threads or 2,
        )


def _views(task: Task, trained_on: bool) -> list[str]:
    """Return the views that a task reads of a dataset; of landmarks only left and right change places."""
    flips = task.tta == "flips" or (trained_on and _augmentation(task) == "flips")
    return (ALL_VIEWS if task.kind == "segmentation" else ALL_VIEWS[:2]) if flips else ALL_VIEWS[:1]


def _augmentation(task: Task) -> str:
    published = "affine" if task.kind == "landmarks" else "flips"  # the published landmark training has affine maps
    recipes = {"sound": "flips", "published": published}
    return task.training.augmentation or recipes[task.training.recipe]


def _mask_classes(target: Target) -> tuple[list[str], list[list[int]]]:
    given = target.classes
    if given is None:
        return [], []
    if isinstance(given, int):
        return [str(index) for index in range(given)], [[index] for index in range(given)]
    names = [str(name) for name in given]
    listed = given if isinstance(given, list) else list(given.values())
    return names, [[int(v) for v in (one if isinstance(one, list) else [one])] for one in listed]
