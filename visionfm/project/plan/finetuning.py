"""The plan of fine-tuned tasks: settings of their trainings and features."""

from collections.abc import Mapping
from typing import Any

from visionfm.config.recipe import given_keys
from visionfm.features.settings import ExtractSettings
from visionfm.images.settings import Reading
from visionfm.project.names import Names
from visionfm.project.plan.maps import ALL_VIEWS
from visionfm.tasks.finetuning.recipe import FinetuneRecipe, finetune_recipe
from visionfm.tasks.finetuning.settings import FinetuneSettings

THREADS = 2


class FinetuningPlan:
    """Settings of tasks that train the encoder too."""

    def __init__(self, names: Names) -> None:
        """`names` are those of the whole plan."""
        self.names = names
        self.config = names.config

    def train_settings(self, task: str, model: str, same: Mapping[str, Any]) -> FinetuneSettings:
        """Return the settings of `finetune`, the recipe spelled out; `same` is what training has in any mode."""
        block = self.config.tasks[task]
        training = block.training
        encoder = self.config.encoders[self.names.finetuned_from(task, model)]
        path = block.recipe_file(training.recipe_name, self.names.task_modalities(task))
        return FinetuneSettings(
            **same,
            recipe=finetune_recipe(path, given_keys(training, FinetuneRecipe)),
            datasets={name: Reading.of(self.config.datasets[name]) for name in block.datasets},
            exact_decode=encoder.decode == "exact",
            threads=training.resources.threads or THREADS,
            gpu=self.gpu(task),
            workers=2 if training.workers is None else training.workers,
        )

    def extract_settings(self, task: str, same: ExtractSettings) -> ExtractSettings:
        """Return the settings of `extract` with a fine-tuned encoder: one view, unrounded, where training computed."""
        block = self.config.tasks[task]
        return same.model_copy(
            update={
                "views": ALL_VIEWS if block.tta == "flips" else ["identity"],
                "precision": block.training.precision or "fp32",
                "dtype": "float32",
                "device": "cuda" if block.training.device == "cuda" else "cpu",
                "gpu": min(1, self.gpu(task)),
            }
        )

    def gpu(self, task: str) -> int:
        """Return how many GPUs a task's training asks for: those of the config, else one on `device: cuda`."""
        training = self.config.tasks[task].training
        if training.resources.gpu is not None:
            return training.resources.gpu
        return 1 if training.device == "cuda" else 0
