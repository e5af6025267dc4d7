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


def launcher(gpus, nodes=1, threads=1):
    """How a stage starts. The shell is replaced: it would end by the signals that the stage answers."""
    if gpus == 0 and nodes == 1:
        return "exec visionfm"
    return f"exec visionfm launch --gpus {gpus} --nodes {nodes} --threads {threads} --"


def devices(gpus, nodes=lambda wildcards: 1):
    """Resources of jobs that may compute on GPUs: `gpus` per node on `nodes` nodes, functions of the wildcards."""

    def model(wildcards):
        return config.get("gpu_model") if gpus(wildcards) else None

    def options(wildcards):
        if nodes(wildcards) == 1 or gpus(wildcards) == 0:
            return None
        kind = f"{model(wildcards)}:" if model(wildcards) else ""
        return f"--gpus-per-node={kind}{gpus(wildcards)}"

    def several(value):
        return lambda wildcards: value(wildcards) if nodes(wildcards) > 1 else None

    return {
        # On several nodes `slurm_extra` asks for the devices: `gpu` counts those of the whole job, wherever they are.
        "gpu": lambda w: gpus(w) if nodes(w) == 1 else 0,
        "gpu_model": lambda w: model(w) if nodes(w) == 1 else None,
        "slurm_partition": lambda w: config.get(
            "gpu_partition" if gpus(w) else "cpu_partition"
        ),
        "slurm_extra": options,
        # `mpi` keeps the executor from starting the job inside a step of one task: the stage starts one per node.
        "mpi": several(lambda w: "srun"),
        "nodes": several(nodes),
        "tasks": several(nodes),
    }
