"""The plan of fine-tuned tasks: names and settings of their encoders, trainings and features."""

from visionfm.features.settings import ExtractSettings
from visionfm.project.names import ROOT
from visionfm.project.plan_dense import ALL_VIEWS
from visionfm.project.plan_pretraining import PretrainPlan
from visionfm.tasks.finetuning.block import FinetuningSwitches
from visionfm.tasks.finetuning.settings import FinetuneSettings, ImagesOf
from visionfm.tasks.runs import read_run
from visionfm.tasks.settings import TrainSettings

THREADS = 2


class FinetuningPlan(PretrainPlan):
    """Settings that only fine-tuned tasks have."""

    def tuned(self, task: str, model: str, same: TrainSettings) -> FinetuneSettings:
        """Return the settings of `finetune`; `same` is what training has in any mode."""
        block = self.config.tasks[task]
        training = block.training
        encoder = self.config.encoders[self.finetuned_from(task, model)]
        given = training.model_dump(include={*FinetuningSwitches.model_fields, "precision"}, exclude={"workers"})
        return FinetuneSettings(
            **same.model_dump(),
            **given,
            datasets={
                name: ImagesOf(
                    frame=self.config.datasets[name].frame, max_megapixels=self.config.datasets[name].max_megapixels
                )
                for name in block.datasets
            },
            exact_decode=encoder.decode == "exact",
            threads=training.resources.threads or THREADS,
            gpu=self.train_gpu(task),
            workers=2 if training.workers is None else training.workers,
        )

    def train_gpu(self, task: str) -> int:
        """Return how many GPUs a task's training asks for: those of the config, else one on `device: cuda`."""
        training = self.config.tasks[task].training
        if training.resources.gpu is not None:
            return training.resources.gpu
        return 1 if training.device == "cuda" else 0

    def tuned_extract(self, task: str, same: ExtractSettings) -> ExtractSettings:
        """Return the settings of `extract` with a fine-tuned encoder: one view, unrounded, where training computed."""
        block = self.config.tasks[task]
        return same.model_copy(
            update={
                "views": ALL_VIEWS if block.tta == "flips" else ["identity"],
                "precision": block.training.precision or "fp32",
                "dtype": "float32",
                "device": "cuda" if block.training.device == "cuda" else "cpu",
                "gpu": min(1, self.train_gpu(task)),
            }
        )

    def finetuned_from(self, task: str, model: str) -> str:
        """Return the one encoder that a model has for a fine-tuned task."""
        return self.encoder_of(model, self.config.tasks[task].datasets[0])

    def is_tuned_run(self, task: str, run: str) -> bool:
        """Tell whether a run has an encoder of its own; baselines stand on the frozen one."""
        return self.is_finetuned(task) and read_run(run).baseline is None

    def run_encoder(self, task: str, model: str, run: str) -> list[str]:
        """Return the encoder that a run fine-tuned; none of a run on frozen features."""
        return [f"{ROOT}/tasks/{task}/{model}/{run}/encoder.safetensors"] if self.is_tuned_run(task, run) else []

    def tuned_encoders(self) -> list[str]:
        """Return all encoders that this config fine-tunes."""
        runs = [(task, model, run) for task, model in self.task_models() for run in self.runs(task)]
        return [path for found in runs for path in self.run_encoder(*found)]

    def run_features(self, task: str, model: str, run: str) -> list[tuple[str, str]]:
        """Return (dataset, cache file) of all that a run's decoder reads when it predicts."""
        if not self.is_tuned_run(task, run):
            return self.task_features(task, model)
        size = self.config.encoders[self.finetuned_from(task, model)].image_size
        folder = f"{ROOT}/tasks/{task}/{model}/{run}/features"
        return [
            (dataset, f"{folder}/{dataset}.cls{size}{shard}.h5")
            for dataset in self.task_datasets(task)
            for shard in self.shards(dataset)
        ]

    def task_encoders(self) -> list[str]:
        """Return the encoders that some task needs, those that fine-tuning starts from among them."""
        tuned = [self.finetuned_from(*pair) for pair in self.task_models() if self.is_finetuned(pair[0])]
        return list(dict.fromkeys([*super().task_encoders(), *tuned]))

    def everything(self) -> list[str]:
        """Return every artefact the config implies, fine-tuned encoders and their features among them."""
        paths = super().everything()
        for task, model in self.task_models():
            for run in self.runs(task) if self.is_finetuned(task) else []:
                paths += self.run_encoder(task, model, run)
                paths += [path for _, path in self.run_features(task, model, run)]
        return list(dict.fromkeys(paths))
