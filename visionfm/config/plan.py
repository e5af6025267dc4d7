"""The plan: a pure function from the config to the names of all artefacts, and to the settings of the stage that makes each.

Reads no file, so that a dry-run tells the whole truth before any data exist.
"""

from collections.abc import Iterable

from visionfm.config import settings as s
from visionfm.config.references import modality_or_none
from visionfm.config.schema import Config, Target, Task
from visionfm.modalities import ANY

ROOT = "results"
ALL_VIEWS = ["identity", "h", "v", "hv"]


class Plan:
    """Names of all artefacts (`results/...`, relative to the working directory) and the settings of all stages."""

    def __init__(self, config: Config) -> None:
        """`config` was checked by `load_config`."""
        self.config = config
        self.report = f"{ROOT}/report/index.html"
        self.report_metrics = f"{ROOT}/report/metrics.parquet"

    # --- what there is ----------------------------------------------------------------------------------------------

    def modality(self, dataset: str) -> str:
        """Return the published spelling of a dataset's modality."""
        return self._canonical(self.config.datasets[dataset].modality)

    def _canonical(self, name: str) -> str:
        found = modality_or_none(name, tuple(self.config.modalities))
        assert found is not None, f"{name} was checked when the config was loaded"
        return found

    def encoder_for(self, model: str, modality: str) -> str:
        """Return the encoder that a model has for a modality."""
        encoders = {self._canonical(name): encoder for name, encoder in self.config.models[model].items()}
        return encoders.get(modality) or encoders[ANY]

    def task_datasets(self, task: str) -> list[str]:
        """Return a task's datasets, the external ones last."""
        block = self.config.tasks[task]
        return [*block.datasets, *block.external]

    def task_modalities(self, task: str) -> list[str]:
        """Return a task's modalities in the order in which its datasets name them."""
        return list(dict.fromkeys(self.modality(dataset) for dataset in self.task_datasets(task)))

    def task_models(self) -> list[tuple[str, str]]:
        """Return all (task, model) pairs."""
        return [(task, model) for task, block in self.config.tasks.items() for model in block.models]

    def extractions(self) -> list[tuple[str, str]]:
        """Return all (encoder, dataset) pairs that some task needs."""
        pairs = {
            (self.encoder_for(model, self.modality(dataset)), dataset)
            for task, model in self.task_models()
            for dataset in self.task_datasets(task)
        }
        return sorted(pairs)

    def shards(self, dataset: str) -> list[str]:
        """Return the file-name parts of a dataset's shards; one empty part where it has a single one."""
        count = self.config.datasets[dataset].shards
        return [""] if count == 1 else [f".{index}" for index in range(count)]

    def runs(self, task: str) -> list[str]:
        """Return the names of a task's runs, one decoder each."""
        return [f"seed{seed}" for seed in self.config.tasks[task].seeds]

    # --- where it lies ----------------------------------------------------------------------------------------------

    def images(self, dataset: str) -> list[str]:
        """Return the index of a dataset, one file a shard."""
        return [f"{ROOT}/datasets/{dataset}/images{shard}.parquet" for shard in self.shards(dataset)]

    def labels(self, dataset: str) -> str:
        """Return a dataset's labels and splits."""
        return f"{ROOT}/datasets/{dataset}/labels.parquet"

    def encoder(self, encoder: str) -> str:
        """Return an imported encoder."""
        return f"{ROOT}/encoders/{encoder}/encoder.safetensors"

    def weights_sum(self, encoder: str) -> list[str]:
        """Return the checksum sidecar of an encoder's weights file; none where there is no file."""
        weights = self.config.encoders[encoder].weights
        return [] if weights in (None, "random") else [f"{ROOT}/encoders/{encoder}/weights.json"]

    def features(self, encoder: str, dataset: str) -> list[str]:
        """Return the caches of a dataset's features, one file a shard."""
        size = self.config.encoders[encoder].image_size
        return [f"{ROOT}/features/{encoder}/{dataset}.cls{size}{shard}.h5" for shard in self.shards(dataset)]

    def exports(self, encoder: str, dataset: str) -> list[str]:
        """Return the flat Parquet exports of a dataset's features, where its block asks for them."""
        wanted = self.config.datasets[dataset].export == "parquet"
        return [path.removesuffix(".h5") + ".parquet" for path in self.features(encoder, dataset)] if wanted else []

    def task_features(self, task: str, model: str) -> list[tuple[str, str]]:
        """Return (dataset, cache file) of all that a task's model reads."""
        return [
            (dataset, path)
            for dataset in self.task_datasets(task)
            for path in self.features(self.encoder_for(model, self.modality(dataset)), dataset)
        ]

    def audit(self, task: str) -> str:
        """Return a task's audit."""
        return f"{ROOT}/tasks/{task}/audit.parquet"

    def samples(self, task: str, model: str) -> str:
        """Return all samples of a task."""
        return f"{ROOT}/tasks/{task}/{model}/samples.parquet"

    def train_table(self, task: str, model: str) -> str:
        """Return the training and validation samples of a task."""
        return f"{ROOT}/tasks/{task}/{model}/train.parquet"

    def decoder(self, task: str, model: str, run: str) -> str:
        """Return a trained decoder."""
        return f"{ROOT}/tasks/{task}/{model}/{run}/decoder.safetensors"

    def training(self, task: str, model: str, run: str) -> str:
        """Return the curves of a decoder's training."""
        return f"{ROOT}/tasks/{task}/{model}/{run}/training.parquet"

    def predictions(self, task: str, model: str, run: str) -> str:
        """Return a decoder's predictions."""
        return f"{ROOT}/tasks/{task}/{model}/{run}/predictions.parquet"

    def metrics(self, task: str, model: str) -> str:
        """Return the metrics of all runs of a task's model."""
        return f"{ROOT}/tasks/{task}/{model}/metrics.parquet"

    def figure(self, task: str, model: str) -> str:
        """Return the figure panel of a task's model."""
        return f"{ROOT}/report/figures/{task}.{model}.svg"

    def everything(self) -> list[str]:
        """Return every artefact the config implies: Snakemake does not rebuild a missing one in the middle by itself."""
        paths: list[str] = [self.report, self.report_metrics]
        for dataset in self.config.datasets:
            paths += [*self.images(dataset), self.labels(dataset)]
        for encoder, dataset in self.extractions():
            paths += [*self.weights_sum(encoder), self.encoder(encoder)]
            paths += [*self.features(encoder, dataset), *self.exports(encoder, dataset)]
        for task in self.config.tasks:
            paths.append(self.audit(task))
        for task, model in self.task_models():
            paths += [self.samples(task, model), self.train_table(task, model), self.metrics(task, model), self.figure(task, model)]
            for run in self.runs(task):
                paths += [self.decoder(task, model, run), self.training(task, model, run), self.predictions(task, model, run)]
        return list(dict.fromkeys(paths))

    # --- what each stage depends on ---------------------------------------------------------------------------------

    def index_settings(self, dataset: str, shard: str) -> s.IndexSettings:
        """Return the settings of `index` for one shard (`.0`, or empty)."""
        block = self.config.datasets[dataset]
        return s.IndexSettings(
            modality=self.modality(dataset),
            layout=block.layout,
            images=block.images,
            frame=block.frame,
            max_megapixels=block.max_megapixels,
            shard=int(shard[1:] or 0),
            shards=block.shards,
        )

    def label_settings(self, dataset: str) -> s.LabelSettings:
        """Return the settings of `label`."""
        block = self.config.datasets[dataset]
        same = ("layout", "table", "labels", "columns", "path_pattern", "cohort", "split")
        return s.LabelSettings(dataset=dataset, **{name: getattr(block, name) for name in same})

    def audit_settings(self, task: str) -> s.AuditSettings:
        """Return the settings of `audit`."""
        block = self.config.tasks[task]
        names = self.task_datasets(task)
        reasons = {name: self.config.datasets[name].allow_leakage for name in names}
        return s.AuditSettings(
            task=task,
            datasets=block.datasets,
            external=block.external,
            allow_leakage={name: reason for name, reason in reasons.items() if reason is not None},
            pretraining=self._pretraining(task),
            bad_images={name: self.config.datasets[name].bad_images for name in names},
            targets=sorted(_columns(block)),
        )

    def _pretraining(self, task: str) -> dict[str, list[str]]:
        encoders = {
            self.encoder_for(model, self.modality(dataset))
            for model in self.config.tasks[task].models
            for dataset in self.task_datasets(task)
        }
        trained = {name: self.config.encoders[name].trained_on for name in sorted(encoders)}
        return {name: datasets for name, datasets in trained.items() if datasets}

    def audited_datasets(self, task: str) -> list[str]:
        """Return the datasets whose images an audit reads: the task's, and its encoders' pretraining sets."""
        pretrained = [dataset for names in self._pretraining(task).values() for dataset in names]
        return list(dict.fromkeys([*self.task_datasets(task), *pretrained]))

    def import_settings(self, encoder: str) -> s.ImportSettings:
        """Return the settings of `import`; the weights' folder is left out, their name and bytes count."""
        block = self.config.encoders[encoder]
        modality = self._canonical(block.modality)
        added = self.config.modalities.get(modality)
        return s.ImportSettings(
            modality=modality,
            weights="random" if block.weights == "random" else None,
            timm=block.timm,
            key=block.key,
            arch=block.arch,
            image_size=block.image_size,
            interpolation=block.interpolation,
            statistics=block.statistics,
            modality_statistics=_added_statistics(added.statistics) if added else None,
            seed=block.seed,
        )

    def extract_settings(self, encoder: str, dataset: str) -> s.ExtractSettings:
        """Return the settings of `extract`: four views where some task trains on the dataset."""
        block, images = self.config.encoders[encoder], self.config.datasets[dataset]
        tasks = self.config.tasks.values()
        views = any(dataset in t.datasets or (dataset in t.external and t.tta == "flips") for t in tasks)
        return s.ExtractSettings(
            size=block.image_size,
            views=ALL_VIEWS if views else ["identity"],
            interpolation=block.interpolation,
            exact_decode=block.decode == "exact",
            precision=block.precision,
            dtype=block.cache,
            frame=images.frame,
            max_megapixels=images.max_megapixels,
            bad_images=images.bad_images,
            device=block.device,
            gpu=self.extract_gpu(encoder),
            batch_size=block.batch_size,
            workers=block.workers,
            max_rows=images.max_rows,
        )

    def extract_gpu(self, encoder: str) -> int:
        """Return how many GPUs extraction asks for: those of the config, none on `device: cpu`, else one."""
        block = self.config.encoders[encoder]
        if block.resources.gpu is not None:
            return block.resources.gpu
        return 0 if block.device == "cpu" else 1

    def fuse_settings(self, task: str) -> s.FuseSettings:
        """Return the settings of `fuse`."""
        block = self.config.tasks[task]
        return s.FuseSettings(
            datasets={name: self.modality(name) for name in self.task_datasets(task)},
            external=block.external,
            modalities=self.task_modalities(task),
            targets={name: _spelled_out(name, target) for name, target in block.targets.items()},
            unit=block.unit,
            max_days=block.max_days,
            fusion=block.fusion,
        )

    def targets(self, task: str) -> dict[str, s.Target]:
        """Return a task's targets as decoders and metrics see them."""
        fused = self.fuse_settings(task).targets
        return {name: s.Target(**t.model_dump(include=set(s.Target.model_fields))) for name, t in fused.items()}

    def train_settings(self, task: str, run: str) -> s.TrainSettings:
        """Return the settings of `train` for one run."""
        block = self.config.tasks[task]
        chosen = block.training.model_dump(exclude={"resources"})
        return s.TrainSettings(
            kind=block.kind,
            targets=self.targets(task),
            modalities=self.task_modalities(task),
            fusion=block.fusion,
            seed=int(run.removeprefix("seed")),
            **chosen,
        )

    def predict_settings(self, task: str, model: str, run: str) -> s.PredictSettings:
        """Return the settings of `predict` for one run."""
        block = self.config.tasks[task]
        return s.PredictSettings(
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

    def evaluate_settings(self, task: str, model: str) -> s.EvaluateSettings:
        """Return the settings of `evaluate`."""
        block = self.config.tasks[task]
        recipe = block.training.recipe
        return s.EvaluateSettings(
            task=task, model=model, head=recipe, fusion=block.fusion, kind=block.kind, targets=self.targets(task)
        )

    def report_settings(self) -> s.ReportSettings:
        """Return the settings of `report`: the whole config."""
        return s.ReportSettings(config=self.config.dump())


def _added_statistics(statistics: object) -> s.Statistics:
    from visionfm.config.schema import Statistics
    from visionfm.modalities import IMAGENET_MEAN, IMAGENET_STD

    if isinstance(statistics, Statistics):
        return statistics
    return Statistics(mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD))


def _columns(task: Task) -> Iterable[str]:
    for name, target in task.targets.items():
        yield from _spelled_out(name, target).columns()


def _spelled_out(name: str, target: Target) -> s.TargetSettings:
    classes, values = _classes(target)
    return s.TargetSettings(
        type=target.type,
        column=target.column or name,
        classes=classes,
        values=values,
        ordered=target.ordered,
        weight=target.weight,
        unit=target.unit,
        unknown=target.unknown,
        aggregate=target.aggregate,
    )


def _classes(target: Target) -> tuple[list[str], list[list[s.Scalar]]]:
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


