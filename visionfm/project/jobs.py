"""What the job of each rule reads and asks for: files by dataset, and cores, GPUs, nodes, memory and time.

The rules in `workflow/` say how a stage is called; what they look up stands here, where it is tested without Snakemake.
"""

import hashlib
import shlex
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from visionfm.config.base import Resources
from visionfm.data.listing import file_state, images_fingerprint, labels_fingerprint
from visionfm.project.names import ROOT
from visionfm.project.plan import Plan

GPU_THREADS = 8  # for each GPU: they decode what it encodes
CARRIED = f"{ROOT}/logs/settings"
LONGEST_BYTES = 100_000
Owned = list[tuple[str, str]]  # (dataset, file or folder)


class Needs(NamedTuple):
    """What a job asks of the machine; memory and time are those of the first attempt and grow with each further one."""

    threads: int
    mem_mb: int
    runtime_min: int
    gpus: int = 0  # per node
    nodes: int = 1


def paths(owned: Owned) -> list[str]:
    """Return the files alone, each once: what a rule has as input."""
    return list(dict.fromkeys(path for _, path in owned))


def named(owned: Owned) -> list[str]:
    """Return `DATASET=FILE` of each: what a stage has on its command line."""
    return [f"{dataset}={path}" for dataset, path in owned]


def launcher(gpus: int, nodes: int = 1, threads: int = 1) -> str:
    """Return how a stage starts. The shell is replaced: it would end by the signals that the stage answers."""
    if gpus == 0 and nodes == 1:
        return "exec visionfm"
    return f"exec visionfm launch --gpus {gpus} --nodes {nodes} --threads {threads} --"


def carried(settings: str) -> str:
    """Return a stage's settings as a word for the shell: the JSON itself or, where it is long, `@` and a file.

    Linux takes no argument of more than 128 KiB. The job writes the file from its own command, so that it holds what
    was planned and the command says it all.
    """
    word = shlex.quote(settings)
    if len(settings.encode()) <= LONGEST_BYTES:
        return word
    file = f"{CARRIED}/{hashlib.sha256(settings.encode()).hexdigest()[:16]}.json"
    return f'"$(mkdir -p {CARRIED} && printf %s {word} > {file} && echo @{file})"'


class Jobs:
    """Inputs and needs of the jobs that a plan has."""

    def __init__(self, plan: Plan, gpus_offered: Callable[[], int]) -> None:
        """`plan` names the files; `gpus_offered` tells how many GPUs jobs can have, and is asked where it matters."""
        self.plan = plan
        self.config = plan.config
        self._gpus_offered = cache(gpus_offered)

    def _gpus(self, device: str) -> int:
        """Return how many GPUs a job asks for where the config says none: on `auto` one, if there are any to be had."""
        return min(1, self._gpus_offered()) if device == "auto" else int(device == "cuda")

    # --- files outside results/, as they were first found: the jobs of all shards of a dataset ask -----------------

    @cache  # noqa: B019 - as long as the plan
    def images_state(self, dataset: str) -> str:
        """Return what changes when a dataset's images do."""
        block = self.config.datasets[dataset]
        return images_fingerprint(Path(block.root), block.layout, block.images, block.watch)

    @cache  # noqa: B019
    def labels_state(self, dataset: str) -> str:
        """Return what changes when the files of a dataset's labels do, its masks and points among them."""
        block = self.config.datasets[dataset]
        watched = block.columns.has_masks and block.watch != "none"
        key = None if block.ids is None else Path(block.ids.hash)
        return labels_fingerprint(Path(block.root), block.layout, block.table, block.images, watched, key)

    @cache  # noqa: B019
    def weights_state(self, encoder: str) -> str:
        """Return what changes when an encoder's weights file does."""
        return file_state(Path(str(self.plan.weights_file(encoder))))

    # --- files by dataset -------------------------------------------------------------------------------------------

    def images(self, datasets: Iterable[str]) -> Owned:
        """Return the indices of datasets."""
        return [(dataset, path) for dataset in datasets for path in self.plan.images(dataset)]

    def packs(self, datasets: Iterable[str]) -> Owned:
        """Return the packs of datasets that have one."""
        return [(dataset, path) for dataset in datasets for path in self.plan.packs(dataset)]

    def labels(self, datasets: Iterable[str]) -> Owned:
        """Return the labels of datasets."""
        return [(dataset, self.plan.labels(dataset)) for dataset in datasets]

    def roots(self, datasets: Iterable[str]) -> Owned:
        """Return the folders of datasets."""
        return [(dataset, self.config.datasets[dataset].root) for dataset in datasets]

    def split_leader(self, dataset: str) -> list[str]:
        """Return the labels of the dataset whose split this one follows, one file or none."""
        leader = self.config.datasets[dataset].split.like
        return [] if leader is None else [self.plan.labels(leader)]

    def measured_labels(self, encoder: str) -> Owned:
        """Return the labels that tell `measure` which images are for training; sets of pretraining count as a whole."""
        whole = self.config.encoders[encoder].trained_on
        return self.labels(dataset for dataset in self.plan.measured_datasets(encoder) if dataset not in whole)

    def knn_labels(self, encoder: str) -> list[str]:
        """Return the labels by which pretraining watches itself, one file or none."""
        knn = self.plan.pretraining.block(encoder).knn
        return [] if knn is None else [self.plan.labels(knn.dataset)]

    def knn_flags(self, encoder: str) -> list[str]:
        """Return how they stand on its command line."""
        knn = self.plan.pretraining.block(encoder).knn
        if knn is None:
            return []
        return [f"--knn-labels={self.plan.labels(knn.dataset)}", f"--knn-root={self.config.datasets[knn.dataset].root}"]

    def made_weights(self, encoder: str) -> list[str]:
        """Return an encoder's weights where fine-tuning in this run writes them: that job has to come first."""
        return [path for path in self.plan.tuned_encoders() if path == self.plan.weights_file(encoder)]

    def dense_encoders(self, task: str, model: str) -> Owned:
        """Return the encoders of a dense task, for what is not cached; none of other tasks."""
        found = self.plan.dense_caches(task, model) if self.plan.is_dense(task) else []
        return [(dataset, self.plan.encoder(encoder)) for encoder, dataset, _ in found]

    def dense_flags(self, task: str, model: str) -> list[str]:
        """Return what dense tasks read beside their caches: encoders, and the folders of the images."""
        encoders = self.dense_encoders(task, model)
        if not encoders:
            return []
        return ["--encoders", *named(encoders), "--roots", *named(self.roots(dataset for dataset, _ in encoders))]

    # --- needs ------------------------------------------------------------------------------------------------------

    def pretrain(self, encoder: str) -> Needs:
        """Return the needs of `pretrain`."""
        block = self.plan.pretraining.block(encoder)
        device = block.device or self.config.encoders[encoder].device
        return _needs(block.resources, Needs(8, 32_000, 1440, self._gpus(device)), decodes=True)

    def extract(self, encoder: str) -> Needs:
        """Return the needs of `extract`."""
        block = self.config.encoders[encoder]
        return _needs(block.resources, Needs(4, 8_000, 240, self._gpus(block.device)), decodes=True)

    def dense(self, encoder: str) -> Needs:
        """Return the needs of `dense`: those of `extract`, on one device, for one process encodes patch tokens."""
        return _on_one_device(self.extract(encoder))

    def train(self, task: str) -> Needs:
        """Return the needs of `train`, which computes on one device."""
        asked = self.config.tasks[task].training.resources
        return _on_one_device(_needs(asked, Needs(2, 8_000, 240, self.plan.tasks.finetuning.gpu(task))))

    def predict(self, task: str) -> Needs:
        """Return the needs of `predict`: on the device of training, and what its rule has of all else."""
        return Needs(2, 8_000, 120, self.train(task).gpus)

    def finetune(self, task: str) -> Needs:
        """Return the needs of `finetune`."""
        asked = self.config.tasks[task].training.resources
        return _needs(asked, Needs(2, 16_000, 720, self.plan.tasks.finetuning.gpu(task)), decodes=True)

    def extract_finetuned(self, task: str) -> Needs:
        """Return the needs of `extract` with an encoder that a run fine-tuned."""
        usual = Needs(4, 8_000, 240, min(1, self.plan.tasks.finetuning.gpu(task)))
        return _needs(Resources(), usual, decodes=True)

    def on_devices(self) -> dict[str, Callable[[Any], Needs]]:
        """Return, for each rule whose jobs may compute on GPUs, its needs by the job's wildcards."""
        return {
            "pretrain": lambda w: self.pretrain(w.encoder),
            "extract": lambda w: self.extract(w.encoder),
            "dense": lambda w: self.dense(w.encoder),
            "finetune": lambda w: self.finetune(w.tuned),
            "extract_finetuned": lambda w: self.extract_finetuned(w.tuned),
            "train": lambda w: self.train(w.task),
            "predict": lambda w: self.predict(w.task),
            "predict_masks": lambda w: self.predict(w.task),
        }


def _needs(asked: Resources, usual: Needs, *, decodes: bool = False) -> Needs:
    """Return the config's wishes, and the rule's own where it has none; a job that `decodes` has cores for its GPUs."""
    wishes = {
        "threads": asked.threads,
        "mem_mb": asked.mem_mb,
        "runtime_min": asked.runtime,
        "gpus": asked.gpu,
        "nodes": asked.nodes,
    }
    needs = usual._replace(**{name: value for name, value in wishes.items() if value is not None})
    if decodes and asked.threads is None:
        return needs._replace(threads=max(needs.threads, GPU_THREADS * needs.gpus))
    return needs


def _on_one_device(needs: Needs) -> Needs:
    return needs._replace(gpus=min(1, needs.gpus), nodes=1)
