"""What a config implies, by name: datasets, encoders and runs of each task, and where every artefact lies.

A pure function of the config that reads no file, so that a dry-run tells the whole truth before any data exist.
"""

from visionfm.config.references import modality_or_none
from visionfm.config.schema import Config
from visionfm.modalities import ANY

ROOT = "results"


class Names:
    """Names of all artefacts: `results/...`, relative to the working directory."""

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
        """Return every artefact the config implies: Snakemake does not by itself rebuild one missing in the middle."""
        paths: list[str] = [self.report, self.report_metrics]
        for dataset in self.config.datasets:
            paths += [*self.images(dataset), self.labels(dataset)]
        for encoder, dataset in self.extractions():
            paths += [*self.weights_sum(encoder), self.encoder(encoder)]
            paths += [*self.features(encoder, dataset), *self.exports(encoder, dataset)]
        for task in self.config.tasks:
            paths.append(self.audit(task))
        for task, model in self.task_models():
            paths += [
                self.samples(task, model),
                self.train_table(task, model),
                self.metrics(task, model),
                self.figure(task, model),
            ]
            for run in self.runs(task):
                paths += [
                    self.decoder(task, model, run),
                    self.training(task, model, run),
                    self.predictions(task, model, run),
                ]
        return list(dict.fromkeys(paths))
