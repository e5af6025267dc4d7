"""Where every artefact lies that a config implies: a pure function of the config, like what it implies."""

from visionfm.project.config import Config
from visionfm.project.implied import Implied
from visionfm.tasks import KINDS
from visionfm.tasks.runs import Fold, compared_runs, fold_of

ROOT = "results"


class Names(Implied):
    """Names of all artefacts: `results/...`, relative to the working directory."""

    def __init__(self, config: Config) -> None:
        """`config` was checked by `load_config`."""
        super().__init__(config)
        self.report = f"{ROOT}/report/index.html"
        self.summary = f"{ROOT}/report/summary.md"
        self.report_metrics = f"{ROOT}/report/metrics.parquet"
        self.figures = f"{ROOT}/report/figures.zip"
        self.task_pages = f"{ROOT}/report/tasks.zip"
        self.paper = f"{ROOT}/report/paper.zip"

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

    def weights_sum(self, encoder: str) -> list[str]:
        """Return the checksum sidecar of an encoder's weights file; none where there is no file."""
        return [] if self.weights_file(encoder) is None else [f"{ROOT}/encoders/{encoder}/weights.json"]

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

    def suspects(self, task: str) -> list[str]:
        """Return a task's labels that look wrong; none where nothing is located, or by an encoder that was fine-tuned.

        Such an encoder has learned its training labels, the wrong ones too.
        """
        tuned = any(self.is_tuned_run(task, run) for run in self.locations(task))
        return [f"{ROOT}/tasks/{task}/suspects.parquet"] if self.locations(task) and not tuned else []

    def judged(self, task: str) -> tuple[str, str]:
        """Return the samples that `suspect` judges and where they lie: those of the first fold where there are some."""
        run, locations = next(iter(self.locations(task).items()))
        return self.run_samples(task, self.config.tasks[task].models[0], run), locations

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
        paths: list[str] = [self.report, self.summary, self.report_metrics, self.figures, self.task_pages]
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
            paths += [*self.locations(task).values(), *self.suspects(task)]
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
