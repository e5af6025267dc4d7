"""What a config implies, by name: datasets, encoders and runs of each task, and where every artefact lies.

A pure function of the config that reads no file, so that a dry-run tells the whole truth before any data exist.
"""

from visionfm.modalities import ANY
from visionfm.project.config import Config
from visionfm.project.references import modality_or_none
from visionfm.tasks import KINDS
from visionfm.tasks.maps.block import MapTask
from visionfm.tasks.runs import (
    Fold,
    all_runs,
    baseline_runs,
    compared_runs,
    fold_of,
    folds,
    pooled_run,
    read_run,
    seed_runs,
)

ROOT = "results"


class Names:
    """Names of all artefacts: `results/...`, relative to the working directory."""

    def __init__(self, config: Config) -> None:
        """`config` was checked by `load_config`."""
        self.config = config
        self.report = f"{ROOT}/report/index.html"
        self.summary = f"{ROOT}/report/summary.md"
        self.report_metrics = f"{ROOT}/report/metrics.parquet"
        self.figures = f"{ROOT}/report/figures.zip"
        self.paper = f"{ROOT}/report/paper.zip"

    # --- what there is ----------------------------------------------------------------------------------------------

    def modality(self, dataset: str) -> str:
        """Return the published spelling of a dataset's modality."""
        return self.canonical(self.config.datasets[dataset].modality)

    def canonical(self, name: str) -> str:
        """Return the published spelling of a modality's name."""
        found = modality_or_none(name, tuple(self.config.modalities))
        assert found is not None, f"{name} was checked when the config was loaded"
        return found

    def seen_as(self, encoder: str, dataset: str) -> str | None:
        """Return the modality whose statistics an encoder of several normalises a dataset by; None of any other."""
        block = self.config.encoders[encoder].pretrain
        return self.modality(dataset) if block is not None and block.scheme == "mix" else None

    def encoder_for(self, model: str, modality: str) -> str:
        """Return the encoder that a model has for a modality."""
        encoders = {self.canonical(name): encoder for name, encoder in self.config.models[model].items()}
        return encoders.get(modality) or encoders[ANY]

    def has_encoder_for(self, model: str, modality: str) -> bool:
        """Tell whether a model can see a modality."""
        return bool({modality, ANY} & {self.canonical(name) for name in self.config.models[model]})

    def encoder_of(self, model: str, dataset: str) -> str:
        """Return the encoder that a model has for a dataset's images."""
        return self.encoder_for(model, self.modality(dataset))

    def is_finetuned(self, task: str) -> bool:
        """Tell whether a task trains the encoder too."""
        return self.config.tasks[task].training.mode == "finetune"

    def is_given(self, task: str) -> bool:
        """Tell whether a task's decoder is a file that the config names, so that nothing is trained."""
        return self.config.tasks[task].given_decoder() is not None

    def is_dense(self, task: str) -> bool:
        """Tell whether a task predicts masks or points, from patch tokens."""
        return KINDS[self.config.tasks[task].kind].family == "maps"

    def map_task(self, task: str) -> MapTask:
        """Return the block of a dense task."""
        block = self.config.tasks[task]
        assert isinstance(block, MapTask), f"{task} is on patch tokens: its rule was asked for"
        return block

    def has_masks(self, task: str) -> bool:
        """Tell whether a task predicts masks."""
        return self.config.tasks[task].has_masks

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
        """Return all (encoder, dataset) pairs whose vectors some task needs, or an export alone."""
        needed = {
            (self.encoder_of(model, dataset), dataset)
            for task, model in self.task_models()
            for dataset in self.task_datasets(task)
            if self.reads_vectors(task)
        }
        read = {dataset for _, dataset in needed}
        alone = {
            (self.encoder_of(model, name), name)
            for name, block in self.config.datasets.items()
            if block.export is not None and name not in read
            for model in self.config.models
            if self.has_encoder_for(model, self.modality(name))
        }
        return sorted(needed | alone)

    def reads_vectors(self, task: str) -> bool:
        """Tell whether some run of a task reads feature vectors of a frozen encoder."""
        if self.is_dense(task):
            return False
        otherwise = self.is_finetuned(task) or not self.config.tasks[task].reads_vectors()
        return not otherwise or bool(self.baseline_runs(task))

    def dense_caches(self, task: str, model: str) -> list[tuple[str, str, int]]:
        """Return (encoder, dataset, size) of all patch tokens that a task's model reads."""
        if self.config.tasks[task].reads_tokens():
            pairs = [(self.encoder_of(model, dataset), dataset) for dataset in self.task_datasets(task)]
            return [(*pair, self.config.encoders[pair[0]].image_size) for pair in pairs]
        if not self.is_dense(task):
            return []
        size = self.map_task(task).image_size
        return [(self.encoder_of(model, dataset), dataset, size) for dataset in self.task_datasets(task)]

    def dense_extractions(self) -> list[tuple[str, str, int]]:
        """Return all (encoder, dataset, size) whose patch tokens some task needs."""
        return sorted({found for pair in self.task_models() for found in self.dense_caches(*pair)})

    def encoders(self) -> list[str]:
        """Return the encoders that some task needs, or that are pretrained here."""
        return list(dict.fromkeys([*self.task_encoders(), *self.pretrained()]))

    def task_encoders(self) -> list[str]:
        """Return the encoders that some task needs, those that fine-tuning starts from among them."""
        pairs = [*self.extractions(), *(found[:2] for found in self.dense_extractions())]
        tuned = [self.finetuned_from(*pair) for pair in self.task_models() if self.is_finetuned(pair[0])]
        return list(dict.fromkeys([*(encoder for encoder, _ in pairs), *tuned]))

    def finetuned_from(self, task: str, model: str) -> str:
        """Return the one encoder that a model has for a fine-tuned task."""
        return self.encoder_of(model, self.config.tasks[task].datasets[0])

    def pretrained(self) -> list[str]:
        """Return the encoders that are pretrained here."""
        return [name for name, block in self.config.encoders.items() if block.pretrain is not None]

    def pretraining_sets(self, encoder: str) -> list[str]:
        """Return the datasets that an encoder is pretrained on here."""
        block = self.config.encoders[encoder].pretrain
        return [] if block is None else block.datasets

    def trained_on(self, encoder: str) -> list[str]:
        """Return the datasets whose images an encoder has seen, as far as the config says."""
        return list(dict.fromkeys([*self.pretraining_sets(encoder), *self.config.encoders[encoder].trained_on]))

    def pretraining_by_encoder(self, task: str) -> dict[str, list[str]]:
        """Return, for each encoder of a task that was pretrained on the config's datasets, which they are."""
        encoders = {
            self.encoder_for(model, self.modality(dataset))
            for model in self.config.tasks[task].models
            for dataset in self.task_datasets(task)
        }
        trained = {name: self.trained_on(name) for name in sorted(encoders)}
        return {name: datasets for name, datasets in trained.items() if datasets}

    def audited_datasets(self, task: str) -> list[str]:
        """Return the datasets whose images an audit reads: the task's, and its encoders' pretraining sets."""
        pretrained = [dataset for names in self.pretraining_by_encoder(task).values() for dataset in names]
        return list(dict.fromkeys([*self.task_datasets(task), *pretrained]))

    def shards(self, dataset: str) -> list[str]:
        """Return the file-name parts of a dataset's shards; one empty part where it has a single one."""
        count = self.config.datasets[dataset].shards
        return [""] if count == 1 else [f".{index}" for index in range(count)]

    def runs(self, task: str) -> list[str]:
        """Return the names of a task's runs, one decoder each."""
        return all_runs(self.config.tasks[task])

    def folds(self, task: str) -> list[Fold]:
        """Return a task's folds; none where its datasets' own splits are used."""
        return folds(self.config.tasks[task])

    def folded_datasets(self, task: str) -> list[str]:
        """Return the datasets whose people a task divides into folds; one without labels that joins no eye is not."""
        names = self.config.tasks[task].datasets if self.folds(task) else []
        joined = self.config.tasks[task].unit != "image"
        return [name for name in names if joined or self.config.datasets[name].labels != "none"]

    def seed_runs(self, task: str) -> list[str]:
        """Return the runs of a task's own decoder on all training data: what all folds answered, where it has folds."""
        return seed_runs(self.config.tasks[task])

    def decoders(self, task: str) -> dict[str, list[str]]:
        """Return the decoders of a task's folds by the run that they make together; none without folds."""
        found: dict[str, list[str]] = {}
        for run in self.runs(task) if self.folds(task) else []:
            found.setdefault(pooled_run(run), []).append(run)
        return found

    def baseline_runs(self, task: str) -> list[str]:
        """Return the baselines that stand beside a task's own decoder."""
        return baseline_runs(self.config.tasks[task])

    def is_tuned_run(self, task: str, run: str) -> bool:
        """Tell whether a run has an encoder of its own; baselines stand on the frozen one."""
        return self.is_finetuned(task) and read_run(run).baseline is None

    # --- where it lies ----------------------------------------------------------------------------------------------

    def images(self, dataset: str) -> list[str]:
        """Return the index of a dataset, one file per shard."""
        return [f"{ROOT}/datasets/{dataset}/images{shard}.parquet" for shard in self.shards(dataset)]

    def packs(self, dataset: str) -> list[str]:
        """Return the indices of a dataset's pack, one file per shard, where its block asks for one."""
        pack = self.config.datasets[dataset].pack
        return (
            []
            if pack is None
            else [f"{ROOT}/packs/{dataset}/{pack.size}px{shard}.parquet" for shard in self.shards(dataset)]
        )

    def labels(self, dataset: str) -> str:
        """Return a dataset's labels and splits."""
        return f"{ROOT}/datasets/{dataset}/labels.parquet"

    def encoder(self, encoder: str) -> str:
        """Return an imported encoder."""
        return f"{ROOT}/encoders/{encoder}/encoder.safetensors"

    def weights_file(self, encoder: str) -> str | None:
        """Return the weights file of an encoder, or the one its pretraining starts from; None where there is none."""
        block = self.config.encoders[encoder]
        if block.pretrain is not None:
            return block.pretrain.init
        return None if block.weights == "random" else block.weights

    def weights_sum(self, encoder: str) -> list[str]:
        """Return the checksum sidecar of an encoder's weights file; none where there is no file."""
        return [] if self.weights_file(encoder) is None else [f"{ROOT}/encoders/{encoder}/weights.json"]

    def measured(self, encoder: str) -> bool:
        """Return whether an imported encoder's input statistics are measured here (`statistics: auto`)."""
        block = self.config.encoders[encoder]
        added = self.config.modalities.get(self.canonical(block.modality))
        of_modality = added is not None and added.statistics == "auto" and block.timm is None
        by_choice = block.statistics == "auto" or (of_modality and block.statistics in ("weights", "modality"))
        return block.pretrain is None and by_choice

    def measured_datasets(self, encoder: str) -> list[str]:
        """Return whose images they are measured on: those it was trained on, else all datasets of its modality."""
        block = self.config.encoders[encoder]
        modality = self.canonical(block.modality)
        return block.trained_on or [name for name in self.config.datasets if self.modality(name) == modality]

    def statistics(self, encoder: str) -> list[str]:
        """Return the measured statistics of an encoder, one file or none."""
        return [f"{ROOT}/encoders/{encoder}/statistics.json"] if self.measured(encoder) else []

    def pretraining_curves(self, encoder: str) -> str:
        """Return the curves of an encoder's pretraining."""
        return f"{ROOT}/encoders/{encoder}/training.parquet"

    def features(self, encoder: str, dataset: str) -> list[str]:
        """Return the caches of a dataset's features, one file per shard."""
        size = self.config.encoders[encoder].image_size
        return [f"{ROOT}/features/{encoder}/{dataset}.cls{size}{shard}.h5" for shard in self.shards(dataset)]

    def dense(self, encoder: str, dataset: str, size: int) -> list[str]:
        """Return the caches of a dataset's patch tokens, one file per shard."""
        return [f"{ROOT}/features/{encoder}/{dataset}.dense{size}{shard}.h5" for shard in self.shards(dataset)]

    def exports(self, encoder: str, dataset: str) -> list[str]:
        """Return the flat Parquet exports of a dataset's features, where its block asks for them."""
        wanted = self.config.datasets[dataset].export == "parquet"
        return [path.removesuffix(".h5") + ".parquet" for path in self.features(encoder, dataset)] if wanted else []

    def task_features(self, task: str, model: str, run: str | None = None) -> list[tuple[str, str]]:
        """Return (dataset, cache file) of all that a run of a task's model learns from; baselines read vectors."""
        block = self.config.tasks[task]
        tokens: list[tuple[str, str]] = []
        if self.is_dense(task) or (block.reads_tokens() and run not in self.baseline_runs(task)):
            tokens = [(found[1], path) for found in self.dense_caches(task, model) for path in self.dense(*found)]
            if self.is_dense(task) or not block.reads_vectors():
                return tokens
        vectors = [
            (dataset, path)
            for dataset in self.task_datasets(task)
            for path in self.features(self.encoder_for(model, self.modality(dataset)), dataset)
        ]
        return vectors + tokens

    def audit(self, task: str) -> str:
        """Return a task's audit."""
        return f"{ROOT}/tasks/{task}/audit.parquet"

    def _divisions(self, task: str) -> list[Fold | None]:
        return [*self.folds(task)] or [None]

    def _division(self, task: str, model: str, fold: Fold | None) -> str:
        return f"{ROOT}/tasks/{task}/{model}" + (f"/{fold.name}" if fold else "")

    def samples(self, task: str, model: str, fold: Fold | None = None) -> str:
        """Return all samples of a task, as one of its folds divides them where it has folds."""
        return f"{self._division(task, model, fold)}/samples.parquet"

    def train_table(self, task: str, model: str, fold: Fold | None = None) -> str:
        """Return the training and validation samples of a task, or of one of its folds."""
        return f"{self._division(task, model, fold)}/train.parquet"

    def run_samples(self, task: str, model: str, run: str) -> str:
        """Return the samples of which a run's decoder is asked."""
        return self.samples(task, model, fold_of(run))

    def run_train_table(self, task: str, model: str, run: str) -> str:
        """Return the samples by which a run's decoder is trained and chosen."""
        return self.train_table(task, model, fold_of(run))

    def all_samples(self, task: str, model: str) -> list[str]:
        """Return the samples of a task: one table, or one per fold."""
        return [self.samples(task, model, fold) for fold in self._divisions(task)]

    def decoder(self, task: str, model: str, run: str) -> str:
        """Return a trained decoder, or the file that the task names."""
        given = self.config.tasks[task].given_decoder()
        if given is not None:
            return given
        return f"{ROOT}/tasks/{task}/{model}/{run}/decoder.safetensors"

    def calibrated(self, task: str, model: str, run: str) -> list[str]:
        """Return a decoder whose probabilities were calibrated; none where the task does not ask for it."""
        if self.config.tasks[task].calibrated_by() == "none":
            return []
        return [f"{ROOT}/tasks/{task}/{model}/{run}/calibrated.safetensors"]

    def applied_decoder(self, task: str, model: str, run: str) -> str:
        """Return the decoder that predicts: the calibrated one where there is one."""
        return next(iter(self.calibrated(task, model, run)), self.decoder(task, model, run))

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
            return self.task_features(task, model, run)
        size = self.config.encoders[self.finetuned_from(task, model)].image_size
        folder = f"{ROOT}/tasks/{task}/{model}/{run}/features"
        return [
            (dataset, f"{folder}/{dataset}.cls{size}{shard}.h5")
            for dataset in self.task_datasets(task)
            for shard in self.shards(dataset)
        ]

    def training(self, task: str, model: str, run: str) -> str:
        """Return the curves of a decoder's training."""
        return f"{ROOT}/tasks/{task}/{model}/{run}/training.parquet"

    def predictions(self, task: str, model: str, run: str) -> str:
        """Return a decoder's predictions."""
        return f"{ROOT}/tasks/{task}/{model}/{run}/predictions.parquet"

    def locations(self, task: str) -> dict[str, str]:
        """Return run -> where its samples lie among the features, of what the page shows errors of; mostly none.

        That is the first model's first run (the decoders of its folds), where the page may show pictures of images.
        """
        block = self.config.tasks[task]
        vectors = not self.is_dense(task) and not KINDS[block.kind].timed and not block.reads_tokens()
        if self.config.report.pictures == "none" or not vectors or self.is_given(task):
            return {}
        first = self.seed_runs(task)[0]
        runs = self.decoders(task).get(first, [first])
        return {run: f"{ROOT}/tasks/{task}/{block.models[0]}/{run}/locations.parquet" for run in runs}

    def masks(self, task: str, model: str, run: str) -> list[str]:
        """Return the archives of a decoder's masks and probability maps; none where the task predicts no masks."""
        folder = f"{ROOT}/tasks/{task}/{model}/{run}"
        return [f"{folder}/masks.zip", f"{folder}/probabilities.zip"] if self.has_masks(task) else []

    def metrics(self, task: str, model: str) -> str:
        """Return the metrics of all runs of a task's model."""
        return f"{ROOT}/tasks/{task}/{model}/metrics.parquet"

    def image_metrics(self, task: str, model: str) -> list[str]:
        """Return the metrics of each image's mask, of all runs; none where the task predicts no masks."""
        return [f"{ROOT}/tasks/{task}/{model}/image_metrics.parquet"] if self.has_masks(task) else []

    def has_observer(self, task: str) -> bool:
        """Tell whether a second observer's masks stand beside those of a task's models."""
        columns = [self.config.datasets[name].columns for name in self.task_datasets(task)]
        return self.has_masks(task) and any(one.mask2 is not None for one in columns)

    def comparison(self, task: str) -> list[str]:
        """Return the tests of a task's differences; none where nothing is compared."""
        block = self.config.tasks[task]
        beside = len(block.models) > 1 or self.baseline_runs(task) or self.has_observer(task)
        return [f"{ROOT}/tasks/{task}/comparison.parquet"] if beside and block.compare != "none" else []

    def compared(self, task: str) -> list[tuple[str, str]]:
        """Return (model, file) of all that is compared: predictions on all training data, or metrics of masks."""
        models = self.config.tasks[task].models
        if self.has_masks(task):
            return [(model, path) for model in models for path in self.image_metrics(task, model)]
        runs = compared_runs(self.config.tasks[task])
        return [(model, self.predictions(task, model, run)) for model in models for run in runs]

    def grouped_datasets(self, task: str) -> list[str]:
        """Return a task's datasets that tell people or images apart (`columns.groups`)."""
        return [name for name in self.task_datasets(task) if self.config.datasets[name].columns.groups]

    def contrasts(self, task: str) -> list[str]:
        """Return the differences between groups and datasets; none where there are neither groups nor external data."""
        wanted = self.grouped_datasets(task) or self.config.tasks[task].external
        return [f"{ROOT}/tasks/{task}/contrasts.parquet"] if wanted else []

    def contrasted(self, task: str) -> list[tuple[str, str]]:
        """Return (model, file) of what `contrast` reads: as `compare`, but of each model's own decoder alone."""
        if self.has_masks(task):
            return self.compared(task)
        block, decoders = self.config.tasks[task], self.decoders(task)
        runs = [decoder for run in self.seed_runs(task) for decoder in decoders.get(run, [run])]
        return [(model, self.predictions(task, model, run)) for model in block.models for run in runs]

    def recalibrations(self, task: str) -> list[str]:
        """Return what local cases give at external sites; none where no probability of a yes is predicted there."""
        block = self.config.tasks[task]
        asks = {target.type for target in block.specs().values()} & {"binary", "multilabel"}
        wanted = block.external and asks and not self.is_dense(task) and not KINDS[block.kind].timed
        return [f"{ROOT}/tasks/{task}/recalibration.parquet"] if wanted else []

    def everything(self) -> list[str]:
        """Return every artefact the config implies: Snakemake does not by itself rebuild one missing in the middle."""
        paths: list[str] = [self.report, self.summary, self.report_metrics, self.figures]
        paths += [] if self.config.study is None else [self.paper]
        for dataset in self.config.datasets:
            paths += [*self.images(dataset), *self.packs(dataset), self.labels(dataset)]
        for encoder in self.encoders():
            paths += [*self.weights_sum(encoder), *self.statistics(encoder), self.encoder(encoder)]
        paths += [self.pretraining_curves(encoder) for encoder in self.pretrained()]
        paths += [path for found in self.dense_extractions() for path in self.dense(*found)]
        for encoder, dataset in self.extractions():
            paths += [*self.features(encoder, dataset), *self.exports(encoder, dataset)]
        for task in self.config.tasks:
            paths += [self.audit(task), *self.comparison(task), *self.contrasts(task), *self.recalibrations(task)]
            paths += self.locations(task).values()
        for task, model in self.task_models():
            for fold in self._divisions(task):
                paths += [self.samples(task, model, fold), self.train_table(task, model, fold)]
            paths += [self.metrics(task, model), *self.image_metrics(task, model)]
            for run in self.runs(task):
                if not self.is_given(task):
                    paths += [self.decoder(task, model, run), self.training(task, model, run)]
                paths += self.calibrated(task, model, run)
                if self.is_tuned_run(task, run):
                    paths += self.run_encoder(task, model, run)
                    paths += [path for _, path in self.run_features(task, model, run)]
                paths += [self.predictions(task, model, run), *self.masks(task, model, run)]
        return list(dict.fromkeys(paths))
