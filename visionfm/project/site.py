"""What only a site knows of its SLURM: the keys under "your site" in a profile's `config`, and what jobs ask by them.

Invariant: every rule's jobs get all of it, from one place (`workflow/rules/cluster.smk`), and what the executor would
refuse or lose at a submission is refused while the profile is read.
"""

import ast
import contextlib
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from visionfm.config.base import Natural, Strict
from visionfm.config.nearest import unknown
from visionfm.errors import UsageError
from visionfm.project.jobs import Needs

Asked = str | int | None
ASKED = (
    *("slurm_partition", "slurm_account", "qos", "constraint", "gpu", "gpu_model", "gres", "slurm_extra"),
    *("mpi", "nodes", "tasks"),
)  # resources of the executor that a site has a say in
NAME = r"^[A-Za-z0-9_.]+$"
# What the executor writes itself, as in its own list (`get_forbidden_slurm_options`) -> what to set instead.
RESERVED = {
    **dict.fromkeys(("-p", "--partition"), "cpu_partition, gpu_partition"),
    **dict.fromkeys(("-A", "--account"), "account"),
    **dict.fromkeys(("-q", "--qos"), "qos"),
    **dict.fromkeys(("-C", "--constraint"), "constraint"),
    **dict.fromkeys(("--gres", "-G", "--gpus", "--gpus-per-node", "--gpus-per-task"), "gres, gpu_model"),
    **dict.fromkeys(("--mem", "--mem-per-cpu", "--mem-per-gpu"), "memory; mem_mb of a block's `resources`"),
    **dict.fromkeys(("-t", "--time"), "runtime of a block's `resources`"),
    **dict.fromkeys(("-N", "--nodes"), "nodes of a block's `resources`"),
    **dict.fromkeys(("-n", "--ntasks", "--ntasks-per-gpu", "--ntasks-per-node"), "gpu of a block's `resources`"),
    **dict.fromkeys(("-c", "--cpus-per-task", "--cpus-per-gpu"), "threads of a block's `resources`"),
    **dict.fromkeys(("-M", "--clusters"), "clusters under default-resources"),
    **dict.fromkeys(("-J", "--job-name", "--comment"), "nothing: Snakemake finds its jobs by it"),
    **dict.fromkeys(("-o", "--output", "-e", "--error", "--parsable"), "nothing: logs lie in .snakemake/slurm_logs"),
    **dict.fromkeys(("-D", "--chdir", "--workdir"), "nothing: jobs run in the run's folder"),
    **dict.fromkeys(("--export", "--wrap"), "setup"),
}


def options(text: str) -> str:
    """Return options of sbatch as the shell is to see them; ValueError for those that the executor sets itself."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"no options of sbatch, such as `--reservation=eyes`: {error}") from error
    if len(words) == 1 and " " in words[0]:
        words = shlex.split(words[0])  # quoted once more, as Snakemake's own resources have it
    for word in words:
        if (name := _reserved(word)) is not None:
            raise ValueError(f"{name} is not for this: the executor sets it; use {RESERVED[name]}")
    if words and not words[0].startswith("-"):
        raise ValueError(f"no options of sbatch, such as `--reservation=eyes`: {text!r}")
    return shlex.join(words)


def _reserved(word: str) -> str | None:
    """Return the option of the executor's own that a word of a command line is, spelled out or cut short."""
    if not word.startswith("--"):
        return next((name for name in RESERVED if len(name) == 2 and word.startswith(name)), None)
    said = word.partition("=")[0]
    return next((name for name in RESERVED if len(said) > 2 and name.startswith(said)), None)


class ByDevice(Strict):
    """One value for jobs on CPUs, one for those on GPUs."""

    cpu: str | None = None
    gpu: str | None = None


def _by_device(value: Any) -> Any:
    return {"cpu": value, "gpu": value} if isinstance(value, str) else value


Texts = Annotated[ByDevice, BeforeValidator(_by_device)]


class Site(Strict):
    """The keys under "your site"; a text stands for all jobs, `{cpu: ..., gpu: ...}` for those on CPUs and on GPUs."""

    cpu_partition: str | None = Field(None, description="where jobs on CPUs go; `sinfo` lists partitions")
    gpu_partition: str | None = Field(None, description="where jobs with GPUs go")
    gpu_model: str | None = Field(None, pattern=NAME, description="where a site wants one to be named, such as a100")
    gres: str | None = Field(None, pattern=NAME, description="the name GPUs have where only --gres is known: gpu")
    account: Texts = Field(ByDevice(), description="who pays; unset: SLURM's default account")
    qos: Texts = Field(ByDevice(), description="quality of service")
    constraint: Texts = Field(ByDevice(), description="features that nodes must have")
    memory: bool = Field(True, description="false where a site refuses --mem")
    extra: Texts = Field(ByDevice(), description="more options of sbatch, such as --reservation=eyes")
    setup: str | list[str] = Field([], description="shell lines before each job, such as `module load cuda`")
    warn_seconds: Natural = Field(300, description="a stage saves this long before its time limit")

    def resources(self, needs: Needs, given_extra: str = "") -> dict[str, Asked]:
        """Return the resources of the executor that a job gets; None and 0: not asked for.

        `given_extra`: `slurm_extra` of the profile's default-resources or set-resources.
        """
        device = "gpu" if needs.gpus else "cpu"
        partition = self.gpu_partition if needs.gpus else self.cpu_partition
        several = needs.nodes > 1
        model = f"{self.gpu_model}:" if self.gpu_model else ""
        extra = [given_extra, options(getattr(self.extra, device) or "")]
        asked = dict.fromkeys(ASKED) | {
            "slurm_partition": partition,
            "slurm_account": getattr(self.account, device),
            "qos": getattr(self.qos, device),
            "constraint": getattr(self.constraint, device),
        }
        if needs.gpus and self.gres:
            asked["gres"] = f"{self.gres}:{model}{needs.gpus}"
        elif needs.gpus and several:
            extra.append(f"--gpus-per-node={model}{needs.gpus}")
        if needs.gpus and not self.gres and not several:
            # `gpu` counts those of the whole job, wherever they are: of several nodes `extra` asks.
            asked |= {"gpu": needs.gpus, "gpu_model": self.gpu_model}
        if several:
            # `mpi` keeps the executor from starting the job inside a step of one task: the stage starts one a node.
            asked |= {"mpi": "srun", "nodes": needs.nodes, "tasks": needs.nodes}
        asked["slurm_extra"] = " ".join(part for part in extra if part) or None
        return asked

    @property
    def prefix(self) -> str:
        """Return what stands before each job's command, for bash; empty where there is nothing."""
        lines = [self.setup] if isinstance(self.setup, str) else self.setup
        if not lines:
            return ""
        # Modules and activation scripts know no `set -u`; what fails in them is told all the same.
        return "set -e; " + "\n".join([*lines, "set -euo pipefail; "])


def read_site(config: Mapping[str, Any], known: Collection[str]) -> Site:
    """Return what a profile's `config` says; `known` are the keys beside it, those of the run's own config.

    UsageError listing all that is wrong.
    """
    where = "the profile's `config`, or --config"
    names = [*Site.model_fields, *known]
    if problems := [problem for name in config if (problem := unknown(name, names, "key of a site"))]:
        raise UsageError("keys that no site has", found="; ".join(problems), where=where, do="correct them")
    # Snakemake hands a profile's `null` over as the text None.
    said = {name: config[name] for name in Site.model_fields if config.get(name) not in (None, "None")}
    try:
        site = Site.model_validate(said)
        for device in (site.extra.cpu, site.extra.gpu):
            options(device or "")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise _wrong(name, Site.model_fields[name].description, said[name], first["msg"], where) from error
    except ValueError as error:
        raise _wrong("extra", Site.model_fields["extra"].description, said["extra"], str(error), where) from error
    return site


def given_options(raw: object) -> str:
    """Return `slurm_extra` of a profile (text, or text in quotes) as options; UsageError where it is refused."""
    text = str(raw)
    with contextlib.suppress(ValueError, SyntaxError):
        text = str(ast.literal_eval(text))  # in quotes
    try:
        return options(text)
    except ValueError as error:
        where = "the profile's default-resources or set-resources"
        raise _wrong("slurm_extra", "options of sbatch", raw, str(error), where) from error


def _wrong(name: str, expected: str | None, found: object, why: str, where: str) -> UsageError:
    what = "is not a number of seconds" if name == "warn_seconds" else "cannot be used"
    return UsageError(
        f"{name} {what}",
        expected="a whole number, 0 or more" if name == "warn_seconds" else expected,
        found=found,
        where=where,
        do=re.sub(r"^Value error, ", "", why) if name != "warn_seconds" else "give seconds, such as 300",
    )
