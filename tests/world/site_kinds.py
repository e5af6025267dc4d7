"""Kinds of SLURM sites: their words in a profile, and the options of `sbatch` that their jobs then have, recorded.

A job on CPUs (label), one on a GPU (extract) and a training on a GPU (pretrain) are submitted to a stand-in; nothing
computes.
"""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rerun_project import CHECKOUT

from visionfm import cli
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

PROFILE = yaml.safe_load((CHECKOUT / "slurm/config.yaml").read_text())
CONFIG = yaml.safe_load((CHECKOUT / "tests/slurm/config.yaml").read_text())
SBATCH = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
for name in (here / "files").read_text().splitlines():
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
print(len((here / "calls").read_text().splitlines()))
"""
SILENT = ("squeue", "sacct", "sacctmgr", "sshare", "scontrol", "sinfo", "scancel")
RULES = ("label", "extract", "pretrain")
TARGETS = (
    "results/datasets/fundus/labels.parquet",
    "results/features/fundus/fundus.cls32.0.h5",
    "results/encoders/oct/encoder.safetensors",
)


class Kind(NamedTuple):
    """A kind of site: its words, and options that jobs on CPUs and on GPUs have and have not."""

    config: Mapping[str, Any]
    cpu: Sequence[str] = ()
    gpu: Sequence[str] = ()
    never: Sequence[str] = ()
    profile: Mapping[str, Any] = {}  # beside the site's words
    nodes: int = 1
    absent: str = ""  # why no job of this kind runs on the test cluster


NO_ACCOUNTING = "no accounting"
KINDS = {
    "as shipped": Kind(
        {}, ["-p cpu", "--mem 2000", "--ntasks=1"], ["-p gpu", "--gpus=1", "--mem 2000"], ["--qos", "-C"]
    ),
    "several partitions": Kind({"cpu_partition": "short,long"}, ["-p short,long"], ["-p gpu"]),
    "one partition for all": Kind({"cpu_partition": "all", "gpu_partition": "all"}, ["-p all"], ["-p all", "--gpus=1"]),
    "no partition to be named": Kind(
        {"cpu_partition": None, "gpu_partition": None},
        [],
        ["--gpus=1"],
        ["-p"],
        absent="no GPUs there",
    ),
    "a model of GPU": Kind({"gpu_model": "a100"}, [], ["--gpus=a100:1"], ["--gres"]),
    "GPUs by --gres": Kind({"gres": "gpu"}, [], ["--gres=gpu:1"], ["--gpus"]),
    "GPUs by --gres with a model": Kind({"gres": "gpu", "gpu_model": "a100"}, [], ["--gres=gpu:a100:1"], ["--gpus"]),
    "no --mem": Kind({"memory": False}, ["-t 30"], ["--gpus=1"], ["--mem"]),
    "an account": Kind({"account": "eyes"}, ["-A eyes"], ["-A eyes"]),
    "an account per partition": Kind({"account": {"cpu": "eyes", "gpu": "eyes_gpu"}}, ["-A eyes"], ["-A eyes_gpu"]),
    "a quality of service": Kind({"qos": "medical"}, ["--qos=medical"], ["--qos=medical"], absent=NO_ACCOUNTING),
    "a quality of service on GPUs": Kind({"qos": {"gpu": "long"}}, [], ["--qos=long"], absent=NO_ACCOUNTING),
    "features of nodes": Kind({"constraint": "rome|milan"}, ["-C rome|milan"], ["-C rome|milan"]),
    "a reservation": Kind({"extra": "--reservation=eyes"}, ["--reservation=eyes"], ["--reservation=eyes"]),
    "licences": Kind({"extra": {"cpu": "--licenses=data:1"}}, ["--licenses=data:1"], []),
    "nodes of one's own": Kind({"extra": {"gpu": "--exclusive"}}, [], ["--exclusive"]),
    "options of the profile": Kind(
        {"extra": "--nice=10"},
        ["--mail-type=FAIL", "--nice=10"],
        ["--mail-type=FAIL", "--nice=10"],
        profile={"default-resources": {"slurm_extra": "'--mail-type=FAIL'"}},
    ),
    "an account of the profile": Kind(
        {}, ["-A old"], ["-A old"], profile={"default-resources": {"slurm_account": "old"}}
    ),
    "one rule set apart": Kind(
        {}, ["-p cpu"], ["-p debug"], profile={"set-resources": {"extract": {"slurm_partition": "debug"}}}
    ),
    "no requeueing": Kind(
        {}, ["--no-requeue"], ["--no-requeue"], profile={"slurm-requeue": False, "slurm-no-requeue": True}
    ),
    "two nodes": Kind(
        {"extra": "--exclusive"}, ["--ntasks=1"], ["--nodes=2", "--ntasks=2", "--exclusive --gpus-per-node=1"], nodes=2
    ),
    "two nodes by --gres": Kind({"gres": "gpu"}, [], ["--nodes=2", "--gres=gpu:1"], ["--gpus-per-node"], nodes=2),
}


class Recorder:
    """A run folder whose files are all there, and stand-ins for SLURM's commands."""

    def __init__(self, folder: Path) -> None:
        """Make it in `folder`."""
        self.folder = folder
        (folder / "bin").mkdir()
        commands = {
            "sbatch": SBATCH.format(python=sys.executable, folder=str(folder)),
            **dict.fromkeys(SILENT, "#!/bin/sh\n"),
        }
        commands |= dict.fromkeys(("sacctmgr",), "#!/bin/sh\nprintf 'eyes\\neyes_gpu\\nold\\n'\n")
        for name, text in commands.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        drawn = ["synth", "--task", "multi_cls", "--modalities", "Fundus", "OCT", "--number", "2", "--size", "64"]
        assert cli.main([*drawn, "--out", str(folder / "data")]) == 0
        files = [folder / path for path in Plan(parse_config(CONFIG)).everything()]
        (folder / "files").write_text("\n".join(map(str, files)))
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def submitted(self, kind: Kind) -> dict[str, list[str]]:
        """Submit the jobs at a kind of site: rule -> the words of its `sbatch`, without the command."""
        profile, config = copy.deepcopy(PROFILE), copy.deepcopy(CONFIG)
        profile |= kind.profile
        profile["config"] = {**profile["config"], **kind.config}
        for encoder in config["encoders"].values():
            encoder["resources"] = {**encoder["resources"], "nodes": kind.nodes}
        config["encoders"]["oct"]["pretrain"]["resources"]["nodes"] = kind.nodes
        (self.folder / "profile").mkdir(exist_ok=True)
        (self.folder / "profile/config.yaml").write_text(yaml.safe_dump(profile))
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        (self.folder / "calls").unlink(missing_ok=True)
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        command = ["snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), "--directory", str(self.folder)]
        command += ["--profile", str(self.folder / "profile"), "--configfile", str(self.folder / "config.yaml")]
        command += ["--immediate-submit", "--notemp", "--allowed-rules", *RULES, "--forcerun", *RULES, "--", *TARGETS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert (self.folder / "calls").exists(), done.stdout + done.stderr
        calls = [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
        said = [[word for word in call if not word.startswith("--wrap")] for call in calls]
        found = {}
        for rule in RULES:
            marks = (f"rule_{rule}", f"samples_{rule}")
            found[rule] = next((words for words in said if any(mark in " ".join(words) for mark in marks)), None)
        assert None not in found.values(), done.stdout + done.stderr
        return found
