# What all rules share: how settings travel, how memory grows with each attempt, what tells that outside files changed.

import os
from pathlib import Path

from visionfm.artifacts.versions import VERSIONS
from visionfm.data.listing import file_state, images_fingerprint, labels_fingerprint
from visionfm.report.data import inputs as report_inputs

# The priority of short jobs that read what users give: a fault in it shows before hours of training, and what waits
# for them can run side by side.
EARLY = 1


def text(settings):
    """A stage's settings as the JSON of its command line."""
    return settings.model_dump_json()


def outside(name, state):
    """The state of files that Snakemake does not track, as found where the jobs were planned.

    Jobs inherit it: they must neither ask again (a listing of a million files) nor see another state, for by it the
    Snakemake inside a job would think that earlier jobs of its rules have to run again.
    """
    variable = f"VISIONFM_STATE_OF_{name}"
    if workflow.is_main_process:
        os.environ[variable] = state()
    return os.environ.get(variable, "planned")


def growing(first):
    """Megabytes, or minutes, that grow with each attempt."""
    return lambda wildcards, attempt: first * attempt


def given(block, name, default):
    """A resource from the config's `resources`, or the rule's own, growing with each attempt unless it counts devices."""
    value = getattr(block, name)
    return default if value is None else value


# --- datasets ---


def root(wildcards):
    return CONFIG.datasets[wildcards.dataset].root


def images_state(wildcards):
    block = CONFIG.datasets[wildcards.dataset]
    return outside(
        f"images_{wildcards.dataset}",
        lambda: images_fingerprint(
            Path(block.root), block.layout, block.images, block.watch
        ),
    )


def labels_state(wildcards):
    block = CONFIG.datasets[wildcards.dataset]
    return outside(
        f"labels_{wildcards.dataset}",
        lambda: labels_fingerprint(
            Path(block.root),
            block.layout,
            block.table,
            block.images,
            block.columns.has_masks and block.watch != "none",
        ),
    )


def like(wildcards):
    leader = CONFIG.datasets[wildcards.dataset].split.like
    return [] if leader is None else [PLAN.labels(leader)]


# --- encoders ---


def weights(wildcards):
    return PLAN.weights_file(wildcards.encoder)


def one_of(names):
    """A wildcard that stands for one of these names; for none, where there are none."""
    return "|".join(names) or r"(?!)"


def pretrain_resource(name, default):
    def resource(wildcards, attempt):
        return (
            given(PLAN.pretraining.block(wildcards.encoder).resources, name, default)
            * attempt
        )

    return resource


def pretrain_gpus(wildcards):
    return PLAN.pretraining.gpu(wildcards.encoder)


def pretrain_nodes(wildcards):
    return given(PLAN.pretraining.block(wildcards.encoder).resources, "nodes", 1)


def pretrain_images(wildcards):
    return {
        dataset: PLAN.images(dataset)
        for dataset in PLAN.pretraining.block(wildcards.encoder).datasets
    }


def pretrain_packs(wildcards):
    return {
        dataset: PLAN.packs(dataset)
        for dataset in PLAN.pretraining.block(wildcards.encoder).datasets
    }


def named(files):
    """`DATASET=FILE` of all files by dataset."""
    return [f"{dataset}={path}" for dataset, paths in files.items() for path in paths]


def of_all(files):
    return [path for paths in files.values() for path in paths]


def knn_labels(wildcards):
    knn = PLAN.pretraining.block(wildcards.encoder).knn
    return [] if knn is None else [PLAN.labels(knn.dataset)]


def knn_flags(wildcards):
    knn = PLAN.pretraining.block(wildcards.encoder).knn
    return (
        []
        if knn is None
        else [
            f"--knn-labels={PLAN.labels(knn.dataset)}",
            f"--knn-root={CONFIG.datasets[knn.dataset].root}",
        ]
    )


def made_weights(wildcards):
    """Weights that a job of this run writes, such as a fine-tuned encoder, which has to come first."""
    return [path for path in PLAN.tuned_encoders() if path == weights(wildcards)]


# --- features ---


def shard_images(wildcards):
    return f"results/datasets/{wildcards.dataset}/images{wildcards.shard}.parquet"


def extract_resource(name, default):
    def resource(wildcards, attempt):
        value = given(CONFIG.encoders[wildcards.encoder].resources, name, default)
        return value * attempt

    return resource


def extract_gpus(wildcards):
    return PLAN.encoding.extract_gpu(wildcards.encoder)


def extract_nodes(wildcards):
    return given(CONFIG.encoders[wildcards.encoder].resources, "nodes", 1)


def dense_gpus(wildcards):
    """Patch tokens are encoded by one process."""
    return min(1, extract_gpus(wildcards))


# --- tasks ---


def task_features(wildcards):
    return [path for _, path in PLAN.task_features(wildcards.task, wildcards.model)]


def named_features(wildcards):
    return [
        f"{dataset}={path}"
        for dataset, path in PLAN.task_features(wildcards.task, wildcards.model)
    ]


def dense_encoders(wildcards):
    found = PLAN.dense_caches(wildcards.task, wildcards.model)
    return list(dict.fromkeys(PLAN.encoder(encoder) for encoder, _, _ in found))


def dense_files(wildcards):
    """What dense tasks read beside their caches: encoders, for what is not cached, and the folders of the images."""
    found = PLAN.dense_caches(wildcards.task, wildcards.model)
    if not found:
        return []
    encoders = [f"{dataset}={PLAN.encoder(encoder)}" for encoder, dataset, _ in found]
    roots = [f"{dataset}={CONFIG.datasets[dataset].root}" for _, dataset, _ in found]
    return ["--encoders", *encoders, "--roots", *roots]


def run_features(wildcards):
    found = PLAN.run_features(wildcards.task, wildcards.model, wildcards.run)
    return [path for _, path in found]


def named_run_features(wildcards):
    found = PLAN.run_features(wildcards.task, wildcards.model, wildcards.run)
    return [f"{dataset}={path}" for dataset, path in found]


def train_resource(name, default):
    def resource(wildcards, attempt):
        value = given(CONFIG.tasks[wildcards.task].training.resources, name, default)
        return value * attempt

    return resource


def train_gpus(wildcards):
    training = CONFIG.tasks[wildcards.task].training
    return given(training.resources, "gpu", 1 if training.device == "cuda" else 0)


def tuned_resource(name, default):
    def resource(wildcards, attempt):
        value = given(CONFIG.tasks[wildcards.tuned].training.resources, name, default)
        return value * attempt

    return resource


def tuned_gpus(wildcards):
    return PLAN.tasks.finetuning.gpu(wildcards.tuned)


def tuned_nodes(wildcards):
    return given(CONFIG.tasks[wildcards.tuned].training.resources, "nodes", 1)


# --- report ---


def reported(wildcards):
    return report_inputs(PLAN)
