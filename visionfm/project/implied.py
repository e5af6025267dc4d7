"""What a config implies: the encoders, datasets, runs and folds of each task.

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
    folds,
    pooled_run,
    read_run,
    seed_runs,
)


class Implied:
    """What is there, by its name in the config."""

    def __init__(self, config: Config) -> None:
        """`config` was checked by `load_config`."""
        self.config = config

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

    def encoders_of(self, task: str) -> list[str]:
        """Return the encoders of a task's models, sorted."""
        encoders = {
            self.encoder_for(model, self.modality(dataset))
            for model in self.config.tasks[task].models
            for dataset in self.task_datasets(task)
        }
        return sorted(encoders)

    def public_encoders(self, task: str) -> dict[str, str | None]:
        """Return the encoders of a task whose training data only others know: what they are called in public, if said.

        One that learned from no image, or from the config's datasets alone, is none of them.
        """
        blocks = {name: self.config.encoders[name] for name in self.encoders_of(task)}
        return {
            name: block.public
            for name, block in blocks.items()
            if block.public is not None or self.weights_file(name) is not None or self.timm_weights(name) is not None
        }

    def public_pretraining(self, task: str) -> dict[str, list[str]]:
        """Return the public sets that encoders of a task were trained on as datasets of the config."""
        found = {
            encoder: [public for name in datasets if (public := self.config.datasets[name].public) is not None]
            for encoder, datasets in self.pretraining_by_encoder(task).items()
        }
        return {encoder: list(dict.fromkeys(sets)) for encoder, sets in found.items() if sets}

    def pretraining_by_encoder(self, task: str) -> dict[str, list[str]]:
        """Return, for each encoder of a task that was pretrained on the config's datasets, which they are."""
        trained = {name: self.trained_on(name) for name in self.encoders_of(task)}
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

    def weights_file(self, encoder: str) -> str | None:
        """Return the weights file of an encoder, or the one its pretraining starts from; None where there is none."""
        block = self.config.encoders[encoder]
        if block.pretrain is not None:
            return block.pretrain.init
        return None if block.weights == "random" else block.weights

    def timm_weights(self, encoder: str) -> str | None:
        """Return the timm model whose weights an encoder has, or its pretraining starts from; None without one."""
        block = self.config.encoders[encoder]
        if block.pretrain is not None:
            return block.pretrain.timm
        return None if block.weights == "random" else block.timm

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
