# How jobs meet machines: GPUs and nodes, and the names that only the site knows. Those come from the profile's `config`
# (slurm/config.yaml); without a profile they are unset, and so are the resources made from them.

import os
import signal

from visionfm.errors import UsageError
from visionfm.runtime.scheduler import WARN_SECONDS

# How long before its job's time limit a stage saves and goes back to the queue.
warn_seconds = config.get("warn_seconds", 300)
if not isinstance(warn_seconds, int) or warn_seconds < 0:
    raise UsageError(
        "warn_seconds is not a number of seconds",
        expected="a whole number, 0 or more",
        found=warn_seconds,
        where="the profile's `config`, or --config",
        do="give seconds, such as 300",
    )
if not workflow.is_main_process:
    # The environment carries it: what stands in a rule's params would be reason to run it again.
    os.environ[WARN_SECONDS] = str(warn_seconds)
    # A person or a site may say so earlier, to every process of a job (`scancel --signal=USR1`). The stages answer it;
    # Snakemake, which stands above them in the job, would end by it and take them along.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def devices(needs):
    """Resources of jobs that may compute on GPUs; `needs` gives their needs, by the wildcards."""

    def model(wildcards):
        return config.get("gpu_model") if needs(wildcards).gpus else None

    def options(wildcards):
        asked = needs(wildcards)
        if asked.nodes == 1 or asked.gpus == 0:
            return None
        kind = f"{model(wildcards)}:" if model(wildcards) else ""
        return f"--gpus-per-node={kind}{asked.gpus}"

    def partition(wildcards):
        return config.get("gpu_partition" if needs(wildcards).gpus else "cpu_partition")

    def several(value):
        return lambda wildcards: (
            value(needs(wildcards).nodes) if needs(wildcards).nodes > 1 else None
        )

    return {
        # On several nodes `slurm_extra` asks for the devices: `gpu` counts those of the whole job, wherever they are.
        "gpu": lambda w: needs(w).gpus if needs(w).nodes == 1 else 0,
        "gpu_model": lambda w: model(w) if needs(w).nodes == 1 else None,
        "slurm_partition": partition,
        "slurm_extra": options,
        # `mpi` keeps the executor from starting the job inside a step of one task: the stage starts one a node.
        "mpi": several(lambda nodes: "srun"),
        "nodes": several(lambda nodes: nodes),
        "tasks": several(lambda nodes: nodes),
    }


def started(needs):
    """How a stage starts that has such needs."""
    return lambda wildcards, threads: launcher(
        needs(wildcards).gpus, needs(wildcards).nodes, threads
    )
