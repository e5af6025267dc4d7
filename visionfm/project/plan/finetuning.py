"""The plan of fine-tuned tasks: settings of their trainings and features."""

from collections.abc import Mapping
from typing import Any

from visionfm.features.settings import ExtractSettings
from visionfm.images.settings import Reading
from visionfm.project.names import Names
from visionfm.tasks.finetuning.settings import FinetuneSettings
from visionfm.tasks.maps.block import ALL_VIEWS
from visionfm.tasks.vectors.block import LabelledTask

THREADS = 2


class FinetuningPlan:
    """Settings of tasks that train the encoder too."""

    def __init__(self, names: Names) -> None:
        """`names` are those of the whole plan."""
        self.names = names
        self.config = names.config

    def train_settings(self, task: str, model: str, same: Mapping[str, Any]) -> FinetuneSettings:
        """Return the settings of `finetune`, the recipe spelled out; `same` is what training has in any mode."""
        block, training = self._block(task), self.config.tasks[task].training
        encoder = self.config.encoders[self.names.finetuned_from(task, model)]
        return FinetuneSettings(
            **same,
            recipe=block.finetuning(),
            datasets={name: Reading.of(self.config.datasets[name]) for name in block.datasets},
            exact_decode=encoder.decode == "exact",
            threads=training.resources.threads or THREADS,
            gpu=self.gpu(task),
            workers=getattr(training, "workers", None),
        )

    def _block(self, task: str) -> LabelledTask:
        block = self.config.tasks[task]
        assert isinstance(block, LabelledTask), f"{task} is fine-tuned: its rule was asked for"
        return block

    def extract_settings(self, task: str, same: ExtractSettings) -> ExtractSettings:
        """Return the settings of `extract` with a fine-tuned encoder: one view, unrounded, as training computed."""
        block = self._block(task)
        return same.model_copy(
            update={
                "views": list(ALL_VIEWS) if block.tta == "flips" else ["identity"],
                "exact_decode": same.exact_decode or block.finetuning().exact_decode,
                "precision": block.finetuning().precision,
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
