"""`visionfm launch`: start a stage on the GPUs it asks for, as one process per GPU, on one node or several.

One GPU: the stage itself. Several: torchrun. Several nodes: `srun` starts this command again on each node of the job,
and each starts one torchrun; they meet at the first node of the job's host list. Where no scheduler hands out devices
they are claimed (`visionfm.runtime.devices`). Replaces its own process, so that signals reach the stage.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import NoReturn

from visionfm.errors import UsageError
from visionfm.runtime import devices

PORTS = 20_000  # from 29,500 on, so that two jobs on one node meet at different ports


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--gpus", type=int, required=True, help="GPUs per node; 0: on CPUs, one process per node")
    parser.add_argument("--nodes", type=int, default=1, help="nodes of the SLURM job")
    parser.add_argument("--threads", type=int, help="CPU cores per node (default: all of it; on several nodes 1)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # one of the tasks that srun started
    parser.add_argument("stage", nargs=argparse.REMAINDER, help="-- and a stage with its arguments")


def main(args: argparse.Namespace) -> NoReturn:
    """Become the stage."""
    stage = args.stage[1:] if args.stage[:1] == ["--"] else args.stage
    if not stage:
        raise UsageError("no stage to start", expected="visionfm launch --gpus 2 -- extract ...", do="name the stage")
    # Whatever stands between the scheduler and the stage lives through its signals; the stages answer them.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if args.threads:
        os.environ[devices.CORES] = str(max(1, args.threads // max(1, args.gpus)))
    if args.nodes == 1 or args.inside:
        devices.claim(args.gpus)
    if args.nodes == 1:
        _become(_alone(stage) if args.gpus < 2 else _torchrun(["--standalone"], args.gpus, stage))
    if "SLURM_JOB_ID" not in os.environ:
        raise UsageError(
            "several nodes need SLURM",
            expected=f"a job on {args.nodes} nodes",
            found="no SLURM_JOB_ID",
            do="run `snakemake --profile slurm`, or set `resources: {nodes: 1}`",
        )
    _become(_torchrun(rendezvous(args.nodes), args.gpus, stage) if args.inside else _on_each_node(args, stage))


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(command[0], command)


def _alone(stage: list[str]) -> list[str]:
    return [sys.executable, "-m", "visionfm", *stage]


def _torchrun(meeting: list[str], gpus: int, stage: list[str]) -> list[str]:
    # No restarts in place: a process that ended took its share of the work along, and the job's retry goes on from the
    # last state that was saved.
    run = [sys.executable, "-m", "torch.distributed.run", *meeting, "--max-restarts=0"]
    # After `--` torchrun takes nothing for an option of its own: the stage has a --log, and torchrun a --log-dir.
    return [*run, f"--nproc-per-node={max(1, gpus)}", "-m", "--", "visionfm", *stage]


def _on_each_node(args: argparse.Namespace, stage: list[str]) -> list[str]:
    # Said in full: a step does not inherit the CPUs of its job, and the executor removed what SLURM had set.
    step = ["srun", f"--nodes={args.nodes}", f"--ntasks={args.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    threads = args.threads or 1
    again = ["launch", f"--gpus={args.gpus}", f"--nodes={args.nodes}", f"--threads={threads}", "--inside", "--"]
    return [*step, f"--cpus-per-task={threads}", *_alone([*again, *stage])]


def rendezvous(nodes: int) -> list[str]:
    """Return torchrun's arguments for the nodes of this job step: they meet at the first one of its host list."""
    hosts = _said("scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")).split()
    if len(hosts) != nodes:
        raise UsageError(
            "this is not a job step on all nodes",
            expected=f"{nodes} nodes in SLURM_JOB_NODELIST",
            found=", ".join(hosts) or "none",
            do="start it by `visionfm launch` inside the job",
        )
    # The address by which SLURM itself reaches the node: names of nodes need not be names of hosts.
    found = re.search(r"NodeAddr=(\S+)", _said("scontrol", "show", "node", hosts[0]))
    job = os.environ["SLURM_JOB_ID"]
    endpoint = f"{found[1] if found else hosts[0]}:{29_500 + int(job) % PORTS}"
    return [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", f"--rdzv-id={job}"]


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise UsageError(f"`{command[0]}` is not on PATH", do="make SLURM's client commands known to the job")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise UsageError(f"`{' '.join(command)}` failed", found=done.stderr.strip())
    return done.stdout
