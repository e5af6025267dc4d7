"""The plan of tasks: the settings of `fuse`, `train`, `finetune`, `predict`, `evaluate` and `compare`."""

from typing import Any

from visionfm.config.recipe import given_keys, read_recipe
from visionfm.features.settings import ExtractSettings
from visionfm.project.config import Config
from visionfm.project.names import Names
from visionfm.project.plan.encoding import EncodingPlan
from visionfm.project.plan.finetuning import FinetuningPlan
from visionfm.project.plan.maps import MapsPlan
from visionfm.tasks.block import TaskBlock
from visionfm.tasks.finetuning.settings import FinetuneSettings
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTrainSettings
from visionfm.tasks.runs import GIVEN, fold_of, read_run
from visionfm.tasks.settings import (
    CalibrateSettings,
    CompareSettings,
    ContrastSettings,
    EvaluateSettings,
    FoldSettings,
    FuseSettings,
    LocateSettings,
    PredictSettings,
    RecalibrateSettings,
    SuspectSettings,
    TargetSpec,
    TrainSettings,
)
from visionfm.tasks.vectors.candidates import AUTO, candidates
from visionfm.tasks.vectors.recipe import SOUND, Recipe


class TaskPlan:
    """Settings of the stages from samples to metrics."""

    def __init__(self, names: Names, encoding: EncodingPlan) -> None:
        """`encoding` plans the features that fine-tuned encoders give, too."""
        self.names = names
        self.config = names.config
        self.encoding = encoding
        self.maps = MapsPlan(names)
        self.finetuning = FinetuningPlan(names)

    def fuse_settings(self, task: str, fold: str | None = None) -> FuseSettings:
        """Return the settings of `fuse`, for one of a task's folds where it has folds."""
        block = self.config.tasks[task]
        return FuseSettings(
            datasets={name: self.names.modality(name) for name in self.names.task_datasets(task)},
            external=block.external,
            modalities=self.names.task_modalities(task),
            kind=block.kind,
            targets=block.labels(),
            unit=block.unit,
            fusion=block.fusion,
            natural_visits=[name for name in self.names.task_datasets(task) if _natural_visits(self.config, name)],
            trains=not self.names.is_given(task),
            fold=self._fold_settings(block, fold),
            **block.fuse_keys(),
        )

    def _fold_settings(self, block: TaskBlock, name: str | None) -> FoldSettings | None:
        fold, split = fold_of(name or ""), block.split
        if fold is None or split is None:
            return None
        return FoldSettings(
            number=fold.number,
            repeat=fold.repeat,
            **split.model_dump(include={"folds", "validation", "stratify", "seed"}),
        )

    def targets(self, task: str) -> dict[str, TargetSpec]:
        """Return a task's targets as decoders and metrics see them."""
        return self.config.tasks[task].specs()

    def train_settings(self, task: str, model: str, run: str) -> TrainSettings | DenseTrainSettings:
        """Return the settings of `train` for one run."""
        if self.names.is_dense(task):
            return self.maps.train_settings(task, model, run)
        return self.vector_train_settings(task, run)

    def vector_train_settings(self, task: str, run: str) -> TrainSettings:
        """Return the settings of `train` for one run on vectors: the same for all models."""
        block, about = self.config.tasks[task], read_run(run)
        # What a baseline does not depend on is left out, so that it is not fitted again for it; it stands on the frozen
        # encoder's features, even beside fine-tuned decoders.
        given = given_keys(block.training, Recipe)
        if about.baseline:
            given = {name: given[name] for name in ("features", "class_weighting") if name in given}
            if given.get("features") == AUTO:  # a baseline reads all that there is
                del given["features"]
        name = "sound" if block.training.mode == "finetune" else block.training.recipe
        path = block.recipe_file(name, self.names.task_modalities(task))
        if about.baseline and block.reads_tokens():
            path = SOUND
        recipe = read_recipe(Recipe, path, given)
        tried = {} if about.baseline else candidates(recipe, block.heads_tried(), given)
        fitting = self._fitting(task, run, name)
        if about.baseline and fitting.get("slices") == "attention":
            fitting["slices"] = "mean"  # which it sees in any case (`pooling`)
        return TrainSettings(**fitting, recipe=recipe, candidates=tried)

    def _fitting(self, task: str, run: str, recipe_name: str) -> dict[str, Any]:
        """Return what the settings of `train` and `finetune` have in common."""
        block, about = self.config.tasks[task], read_run(run)
        return {
            "kind": block.kind,
            "targets": self.targets(task),
            "modalities": self.names.task_modalities(task),
            "fusion": block.fusion,
            "baseline": about.baseline,
            "train_fraction": about.train_fraction,
            "shots": about.shots,
            "seed": about.seed or 0,
            "recipe_name": recipe_name,
            **block.train_keys(),
            **({} if about.baseline else block.training.model_dump(include={"device", "checkpoint_minutes"})),
        }

    def finetune_settings(self, task: str, model: str, run: str) -> FinetuneSettings:
        """Return the settings of `finetune` for one run."""
        same = self._fitting(task, run, self.config.tasks[task].training.recipe)
        return self.finetuning.train_settings(task, model, same)

    def run_extract_settings(self, task: str, model: str, dataset: str) -> ExtractSettings:
        """Return the settings of `extract` with a run's fine-tuned encoder."""
        frozen = self.encoding.extract_settings(self.names.finetuned_from(task, model), dataset)
        return self.finetuning.extract_settings(task, frozen)

    def predict_settings(self, task: str, model: str, run: str) -> PredictSettings | DensePredictSettings:
        """Return the settings of `predict` for one run."""
        if self.names.is_dense(task):
            return self.maps.predict_settings(task, model, run)
        block = self.config.tasks[task]
        return PredictSettings(
            task=task,
            model=model,
            run=run,
            kind=block.kind,
            targets=self.targets(task),
            modalities=self.names.task_modalities(task),
            fusion=block.fusion,
            tta=block.tta,
            device=block.training.device,
        )

    def calibrate_settings(self, task: str) -> CalibrateSettings:
        """Return the settings of `calibrate`: the same for all models and runs."""
        block = self.config.tasks[task]
        return CalibrateSettings.model_validate(
            {
                "method": block.calibrated_by(),
                "kind": block.kind,
                "modalities": self.names.task_modalities(task),
                "tta": block.tta,
            }
        )

    def locate_settings(self, task: str) -> LocateSettings:
        """Return the settings of `locate`: the features that decoders read; where validation chooses them, all."""
        block = self.config.tasks[task]
        run = self.names.seed_runs(task)[0]
        tuned = self.names.is_tuned_run(task, run)
        fitted = self.finetune_settings(task, block.models[0], run) if tuned else self.vector_train_settings(task, run)
        return LocateSettings.model_validate(
            {
                "targets": self.targets(task),
                "modalities": self.names.task_modalities(task),
                "fusion": block.fusion,
                "features": "both" if fitted.recipe.features == AUTO else fitted.recipe.features,
            }
        )

    def suspect_settings(self, task: str) -> SuspectSettings:
        """Return the settings of `suspect`."""
        modalities = self.names.task_modalities(task)
        return SuspectSettings(targets=self.targets(task), modalities=modalities, external=self._external(task))

    def _external(self, task: str) -> list[str]:
        """Return the external datasets as predictions name them: a sample that joins datasets has its cohort's name."""
        block = self.config.tasks[task]
        if block.unit == "image":
            return sorted(block.external)
        inside = {_cohort(self.config, name) for name in block.datasets}
        return sorted({_cohort(self.config, name) for name in block.external} - inside)

    def evaluate_settings(self, task: str, model: str) -> EvaluateSettings:
        """Return the settings of `evaluate`."""
        block = self.config.tasks[task]
        return EvaluateSettings(
            task=task,
            model=model,
            head=GIVEN if self.names.is_given(task) else block.head_name(),
            fusion=block.fusion,
            kind=block.kind,
            targets=self.targets(task),
            external=self._external(task),
            pool=block.pool,
            **block.evaluate_keys(),
        )

    def compare_settings(self, task: str) -> CompareSettings:
        """Return the settings of `compare`."""
        block = self.config.tasks[task]
        return CompareSettings(
            models=block.models,
            runs=self.names.seed_runs(task),
            baselines=self.names.baseline_runs(task),
            pairs="all" if block.compare == "all" else "headline",
            # Datasets are never pooled there, so that it does not depend on what `evaluate` pools.
            evaluate=self.evaluate_settings(task, block.models[0]).model_copy(update={"external": [], "pool": False}),
        )

    def contrast_settings(self, task: str) -> ContrastSettings:
        """Return the settings of `contrast`."""
        block = self.config.tasks[task]
        groups = {name: self.config.datasets[name].columns.group_columns for name in self.names.grouped_datasets(task)}
        return ContrastSettings(
            models=block.models,
            runs=self.names.seed_runs(task),
            evaluate=self.evaluate_settings(task, block.models[0]).model_copy(update={"pool": False}),
            groups={name: {group: one.cut for group, one in of.items()} for name, of in groups.items()},
            smallest_group=block.smallest_group,
        )

    def recalibrate_settings(self, task: str) -> RecalibrateSettings:
        """Return the settings of `recalibrate`."""
        block = self.config.tasks[task]
        return RecalibrateSettings(
            models=block.models,
            runs=self.names.seed_runs(task),
            evaluate=self.evaluate_settings(task, block.models[0]).model_copy(update={"pool": False}),
        )


def _cohort(config: Config, dataset: str) -> str:
    return config.datasets[dataset].cohort or dataset


def _natural_visits(config: Config, dataset: str) -> bool:
    """Tell whether the numbers in the names of a dataset's visits order them."""
    visit = config.datasets[dataset].columns.visit_column
    return visit is not None and visit.order == "natural"
