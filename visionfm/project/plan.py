"""The plan: what each stage depends on, as a pure function of the config, beside the names of all artefacts."""

from collections.abc import Iterable

from visionfm.config.base import Scalar, Statistics
from visionfm.data.settings import AuditSettings, IndexSettings, LabelSettings
from visionfm.encoders.settings import ImportSettings
from visionfm.features.settings import ExtractSettings
from visionfm.project import plan_progression as progression
from visionfm.project.plan_dense import ALL_VIEWS
from visionfm.project.plan_finetuning import FinetuningPlan
from visionfm.project.plan_pretraining import added_statistics
from visionfm.project.settings import ReportSettings
from visionfm.tasks.block import Task
from visionfm.tasks.finetuning.block import FinetuningSwitches
from visionfm.tasks.finetuning.settings import FinetuneSettings
from visionfm.tasks.maps.block import DenseTraining
from visionfm.tasks.runs import GIVEN, read_run
from visionfm.tasks.settings import (
    EvaluateSettings,
    FuseSettings,
    LabelledTarget,
    PredictSettings,
    TargetSpec,
    TrainSettings,
)
from visionfm.tasks.target import Target

DENSE_TYPES = {"segmentation": "mask", "landmarks": "point"}


class Plan(FinetuningPlan):
    """Names of all artefacts, and the settings of all stages: their slices of the config."""

    def index_settings(self, dataset: str, shard: str) -> IndexSettings:
        """Return the settings of `index` for one shard (`.0`, or empty)."""
        block = self.config.datasets[dataset]
        return IndexSettings(
            modality=self.modality(dataset),
            layout=block.layout,
            images=block.images,
            frame=block.frame,
            max_megapixels=block.max_megapixels,
            shard=int(shard[1:] or 0),
            shards=block.shards,
        )

    def label_settings(self, dataset: str) -> LabelSettings:
        """Return the settings of `label`."""
        block = self.config.datasets[dataset]
        same = ("layout", "images", "table", "labels", "columns", "path_pattern", "cohort", "split")
        return LabelSettings(
            dataset=dataset, **{name: getattr(block, name) for name in same}, mask_values=self.mask_values(dataset)
        )

    def audit_settings(self, task: str) -> AuditSettings:
        """Return the settings of `audit`."""
        block = self.config.tasks[task]
        names = self.task_datasets(task)
        reasons = {name: self.config.datasets[name].allow_leakage for name in names}
        return AuditSettings(
            task=task,
            datasets=block.datasets,
            external=block.external,
            allow_leakage={name: reason for name, reason in reasons.items() if reason is not None},
            pretraining=self._pretraining(task),
            bad_images={name: self.config.datasets[name].bad_images for name in names},
            # An image may well have progressed by one day, and not by an earlier one: no contradiction.
            targets=[] if block.kind == "progression" else sorted(set(_columns(block))),
        )

    def _pretraining(self, task: str) -> dict[str, list[str]]:
        encoders = {
            self.encoder_for(model, self.modality(dataset))
            for model in self.config.tasks[task].models
            for dataset in self.task_datasets(task)
        }
        trained = {name: self.trained_on(name) for name in sorted(encoders)}
        return {name: datasets for name, datasets in trained.items() if datasets}

    def audited_datasets(self, task: str) -> list[str]:
        """Return the datasets whose images an audit reads: the task's, and its encoders' pretraining sets."""
        pretrained = [dataset for names in self._pretraining(task).values() for dataset in names]
        return list(dict.fromkeys([*self.task_datasets(task), *pretrained]))

    def import_settings(self, encoder: str) -> ImportSettings:
        """Return the settings of `import`."""
        block = self.config.encoders[encoder]
        modality = self._canonical(block.modality)
        added = self.config.modalities.get(modality)
        return ImportSettings(
            modality=modality,
            weights=block.weights,
            timm=block.timm,
            key=block.key,
            arch=block.arch,
            image_size=block.image_size,
            interpolation=block.interpolation,
            statistics=block.statistics,
            modality_statistics=_known(added_statistics(added.statistics)) if added else None,
            seed=block.seed,
        )

    def extract_settings(self, encoder: str, dataset: str) -> ExtractSettings:
        """Return the settings of `extract`: four views where some task trains on the dataset."""
        block, images = self.config.encoders[encoder], self.config.datasets[dataset]
        tasks = [block for name, block in self.config.tasks.items() if not self.is_dense(name)]
        views = any(dataset in t.datasets or (dataset in t.external and t.tta == "flips") for t in tasks)
        return ExtractSettings(
            size=block.image_size,
            views=ALL_VIEWS if views else ["identity"],
            interpolation=block.interpolation,
            exact_decode=block.decode == "exact",
            precision=block.precision,
            dtype=block.cache,
            modality=self.modality(dataset) if block.pretrain is not None and block.pretrain.scheme == "mix" else None,
            frame=images.frame,
            max_megapixels=images.max_megapixels,
            bad_images=images.bad_images,
            device=block.device,
            gpu=self.extract_gpu(encoder),
            batch_size=block.batch_size,
            workers=block.workers,
            max_rows=images.max_rows,
        )

    def fuse_settings(self, task: str) -> FuseSettings:
        """Return the settings of `fuse`."""
        block = self.config.tasks[task]
        return FuseSettings(
            datasets={name: self.modality(name) for name in self.task_datasets(task)},
            external=block.external,
            modalities=self.task_modalities(task),
            targets={name: _spelled_out(name, target, block.kind) for name, target in block.targets.items()},
            unit=block.unit,
            max_days=block.max_days,
            fusion=block.fusion,
            progression=block.head if block.kind == "progression" else None,
            trains=not self.is_given(task),
        )

    def targets(self, task: str) -> dict[str, TargetSpec]:
        """Return a task's targets as decoders and metrics see them."""
        if self.config.tasks[task].kind == "progression":
            return dict.fromkeys(self.config.tasks[task].targets, progression.target(self.config.tasks[task]))
        fused = self.fuse_settings(task).targets
        return {name: TargetSpec(**t.model_dump(include=set(TargetSpec.model_fields))) for name, t in fused.items()}

    def train_settings(self, task: str, run: str) -> TrainSettings:
        """Return the settings of `train` for one run."""
        block, about = self.config.tasks[task], read_run(run)
        # What a baseline does not depend on is left at its default, so that it is not fitted again for it.
        given = {"recipe", "features", "class_weighting"} if about.baseline else set(type(block.training).model_fields)
        other = {"resources", "mode", *DenseTraining.model_fields, *FinetuningSwitches.model_fields}
        chosen = block.training.model_dump(include=given - other)
        if block.kind == "progression":
            chosen |= {"head": block.head, "visits": block.survival.visits}
        if block.training.mode == "finetune":  # baselines stand on the frozen encoder's features
            chosen["recipe"] = "sound" if about.baseline else block.training.recipe_name
        return TrainSettings(
            kind=block.kind,
            targets=self.targets(task),
            modalities=self.task_modalities(task),
            fusion=block.fusion,
            baseline=about.baseline,
            train_fraction=about.train_fraction,
            shots=about.shots,
            seed=about.seed or 0,
            **chosen,
        )

    def finetune_settings(self, task: str, model: str, run: str) -> FinetuneSettings:
        """Return the settings of `finetune` for one run."""
        return self.tuned(task, model, self.train_settings(task, run))

    def run_extract_settings(self, task: str, model: str, dataset: str) -> ExtractSettings:
        """Return the settings of `extract` with a run's fine-tuned encoder."""
        return self.tuned_extract(task, self.extract_settings(self.finetuned_from(task, model), dataset))

    def predict_settings(self, task: str, model: str, run: str) -> PredictSettings:
        """Return the settings of `predict` for one run."""
        block = self.config.tasks[task]
        return PredictSettings(
            task=task,
            model=model,
            run=run,
            kind=block.kind,
            targets=self.targets(task),
            modalities=self.task_modalities(task),
            fusion=block.fusion,
            tta=block.tta,
            device=block.training.device,
        )

    def evaluate_settings(self, task: str, model: str) -> EvaluateSettings:
        """Return the settings of `evaluate`."""
        block = self.config.tasks[task]
        head = (block.head if block.kind == "progression" else None) or block.training.recipe_name
        return EvaluateSettings(
            task=task,
            model=model,
            head=GIVEN if self.is_given(task) else head,
            fusion=block.fusion,
            kind=block.kind,
            targets=self.targets(task),
            **({"success_px": block.success_px, "success_mm": block.success_mm} if block.kind == "landmarks" else {}),
        )

    def report_settings(self) -> ReportSettings:
        """Return the settings of `report`: the whole config."""
        return ReportSettings(config=self.config.dump())


def _known(statistics: object) -> Statistics | None:
    """Return statistics that the config states; measured ones reach `import` by their file."""
    return statistics if isinstance(statistics, Statistics) else None


def _columns(task: Task) -> Iterable[str]:
    for name, target in task.targets.items():
        yield from _spelled_out(name, target, task.kind).columns()


def _spelled_out(name: str, target: Target, kind: str) -> LabelledTarget:
    if kind == "progression":
        return progression.label_target()
    classes, values = ([], []) if kind == "landmarks" else _classes(target)
    return LabelledTarget(
        type=target.type or DENSE_TYPES[kind],
        column=target.column or name,
        classes=classes,
        values=values,
        ordered=target.ordered,
        weight=target.weight,
        unit=target.unit,
        unknown=target.unknown,
        aggregate=target.aggregate,
    )


def _classes(target: Target) -> tuple[list[str], list[list[Scalar]]]:
    """Return class names and, for each, the labels that mean it."""
    given = target.classes
    if target.type == "value":
        return [], []
    if given is None:
        return ["negative", "positive"], [[0], [1]]
    if isinstance(given, int):
        return [str(index) for index in range(given)], [[index] for index in range(given)]
    if isinstance(given, list):
        return [str(value) for value in given], [[value] for value in given]
    return list(given), [value if isinstance(value, list) else [value] for value in given.values()]
