"""What SLURM says of itself, as the lines under "your site" of a profile: `visionfm doctor --slurm` prints them.

Invariant: a key is written where SLURM leaves no choice; where there is one, a comment names what may be chosen.
"""

import getpass
import re
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

from visionfm.errors import UsageError

Ask = Callable[[Sequence[str]], str | None]
SHORT_MEMORY_S = 300  # of finished jobs, below which the queue may forget one before it is asked for
WAIT_S = 60


class Partition(NamedTuple):
    """A partition, as large as its largest node."""

    name: str
    default: bool
    cpus: int
    memory_mb: int
    gpus: int
    models: tuple[str, ...]
    limit: str


def ask(command: Sequence[str]) -> str | None:
    """Return what a client command says; None where it is not there, fails, or does not answer in a minute."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def found_site(asked: Ask = ask) -> list[str]:
    """Return the lines, in YAML; UsageError where SLURM does not answer."""
    listed = asked(["sinfo", "-h", "-o", "%P|%c|%m|%G|%l"])
    config = asked(["scontrol", "show", "config"])
    if not listed or config is None:
        silent = "sinfo" if not listed else "scontrol"
        raise UsageError(
            f"`{silent}` does not answer",
            expected="SLURM's client commands, on a login node",
            do="log in to the cluster, or edit slurm/config.yaml by hand (docs/slurm.md)",
        )
    says = dict(re.findall(r"^(\w+)\s*= *(.*?)\s*$", config, re.MULTILINE))
    partitions = _partitions(listed)
    return [*_keys(partitions, says), *_accounts(asked, says), *_elsewhere(partitions, says)]


def _partitions(listed: str) -> list[Partition]:
    found: dict[str, Partition] = {}
    for line in listed.split():
        name, cpus, memory, gres, limit = line.split("|")
        models = {match[1]: int(match[2]) for match in re.finditer(r"gpu:(?:([A-Za-z]\w*):)?(\d+)", gres)}
        one = Partition(
            name.rstrip("*"),
            name.endswith("*"),
            int(re.sub(r"\D", "", cpus)),
            int(re.sub(r"\D", "", memory)),
            sum(models.values()),
            tuple(sorted(model for model in models if model)),
            limit,
        )
        other = found.get(one.name, one)
        found[one.name] = one._replace(
            cpus=max(one.cpus, other.cpus),
            memory_mb=max(one.memory_mb, other.memory_mb),
            gpus=max(one.gpus, other.gpus),
            models=tuple(sorted({*one.models, *other.models})),
        )
    return list(found.values())


def _keys(partitions: list[Partition], says: dict[str, str]) -> list[str]:
    """Return the keys of `config:` that partitions decide."""
    first = sorted(partitions, key=lambda one: not one.default)
    with_gpus = [one for one in first if one.gpus]
    without = [one for one in first if not one.gpus] or first
    lines = ["config:", f"  cpu_partition: {without[0].name}{_others(without)}"]
    if not with_gpus:
        return [*lines, "  gpu_partition: null  # no partition tells of GPUs"]
    chosen = with_gpus[0]
    lines.append(f"  gpu_partition: {chosen.name}{_others(with_gpus)}")
    if len(chosen.models) > 1:
        lines.append(f"  # gpu_model: {chosen.models[0]}  # one of {', '.join(chosen.models)}; unset: any")
    if says.get("SelectType") not in (None, "select/cons_tres"):
        lines.append(f"  gres: gpu  # {says['SelectType']} knows no --gpus")
    return lines


def _others(partitions: list[Partition]) -> str:
    """Return a comment that names the partitions and their time limits where there are several."""
    if len(partitions) < 2:
        return f"  # up to {partitions[0].limit}"
    return "  # " + ", ".join(f"{one.name} (up to {one.limit})" for one in partitions)


def _accounts(asked: Ask, says: dict[str, str]) -> list[str]:
    """Return the keys that accounting decides."""
    user = getpass.getuser()
    listed = asked(["sacctmgr", "-nP", "show", "assoc", f"user={user}", "format=Account,Partition,QOS"])
    rows = [line.split("|") for line in (listed or "").splitlines() if line.count("|") == 2]
    if not rows:
        return ["  # no account or quality of service is known of you: none is asked for"]
    accounts = sorted({account for account, _, _ in rows if account})
    qos = sorted({name for _, _, names in rows for name in names.split(",") if name})
    lines = [f"  account: {accounts[0]}" if len(accounts) == 1 else f"  # account: one of {', '.join(accounts)}"]
    needed = "qos" in says.get("AccountingStorageEnforce", "").lower()
    if qos:
        lines.append(f"  qos: {qos[0]}" if len(qos) == 1 and needed else f"  # qos: {', '.join(qos)} may be named")
    return lines


def _elsewhere(partitions: list[Partition], says: dict[str, str]) -> list[str]:
    """Return the profile's lines beside `config:`."""
    age = re.match(r"(\d+)", says.get("MinJobAge", ""))
    accounting = "none" not in says.get("AccountingStorageType", "none")
    lines = ["slurm-status-command: squeue"]
    if age and int(age[1]) < SHORT_MEMORY_S:
        why = f"a finished job is forgotten after {age[1]} s (MinJobAge)"
        lines = [f"slurm-status-command: {'sacct' if accounting else 'squeue'}  # {why}"]
        if not accounting:
            lines.append("# and there is no accounting: ask the admins for MinJobAge=300")
    largest = max(partitions, key=lambda one: (one.gpus, one.cpus))
    lines += [f"cores: {largest.cpus}", "resources:", f"  mem_mb: {max(one.memory_mb for one in partitions)}"]
    lines.append(f"  gpu: {largest.gpus}")
    if says.get("JobRequeue") == "0":
        lines += ["slurm-requeue: false  # this site does not requeue", "slurm-no-requeue: true"]
    return lines
