# What all rules share: how settings travel, how memory grows with each attempt, what tells that outside files changed.

import os

from visionfm.artifacts.versions import VERSIONS
from visionfm.runtime.devices import present as devices_present
from visionfm.project.jobs import Jobs, carried, launcher, named, paths
from visionfm.project.memory import extract_mb, held_mb

# The priority of short jobs that read what users give: a fault in it shows before hours of training, and what waits
# for them can run side by side.
EARLY = 1


def text(settings):
    """A stage's settings as a word of its command line; a function gives them, for Snakemake formats plain texts."""
    return lambda wildcards: carried(settings(wildcards).model_dump_json())


def outside(name, state):
    """The state of files that Snakemake does not track, as found where the jobs were planned.

    Jobs inherit it: they must neither ask again (a listing of a million files) nor see another state, for by it the
    Snakemake inside a job would think that earlier jobs of its rules have to run again.
    """
    variable = f"VISIONFM_STATE_OF_{name}"
    if workflow.is_main_process:
        os.environ[variable] = state()
    return os.environ.get(variable, "planned")


def gpus_offered():
    """How many GPUs jobs can have: the profile's, else any on a cluster, else those of this machine."""

    def count():
        limit = workflow.global_resources.get("gpu")
        limit = getattr(limit, "value", limit)
        if limit is not None:
            return str(limit)
        return str(1 if workflow.non_local_exec else len(devices_present()))

    known = outside("gpus", count)
    return int(known if known.isdigit() else count())


JOBS = Jobs(PLAN, gpus_offered)


def growing(first, held=None, asked=None):
    """Megabytes, or minutes, that grow with each attempt; `first`, of the first one, may depend on the wildcards.

    `held` says what the inputs need, once they are there, where nobody has `asked` for another amount in the config.
    """

    def resource(wildcards, input, attempt):
        value = first(wildcards) if callable(first) else first
        if held is not None and (asked is None or asked(wildcards).mem_mb is None):
            value = max(value, held(wildcards, input))
        return value * attempt

    return resource


def one_of(names):
    """A wildcard that stands for one of these names; for none, where there are none."""
    return "|".join(names) or r"(?!)"


def root(wildcards):
    return CONFIG.datasets[wildcards.dataset].root


def shard_images(wildcards):
    return f"results/datasets/{wildcards.dataset}/images{wildcards.shard}.parquet"
