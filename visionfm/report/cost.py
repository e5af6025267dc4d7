"""The page of cost: what each rule's jobs took, from Snakemake's benchmark files, and what SLURM's accounting adds.

Reads `results/benchmarks/STAGE/**.tsv` and the logs beside them; writes `results/benchmarks/cost.html`. Seconds differ
from run to run: that is why the page lies among the benchmark files and not in the report, whose bytes are promised.
Invariant: what is not known is a dash, never a zero.
"""

import logging
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from visionfm import artifacts

PAGE = "cost.html"
TEMPLATE = "cost.html.j2"
DASH = "\N{EN DASH}"
ACCOUNTED_DAYS = 90
SHELL_MB = 20  # no stage is that small
log = logging.getLogger("visionfm")
ENCODED = re.compile(r"^encoded (\d+), reused \d+", re.MULTILINE)


class Job(NamedTuple):
    """One benchmark file: the last run of one job."""

    rule: str
    seconds: float
    cpu_seconds: float | None
    memory_mb: float | None
    cores: int | None
    gpus: int | None
    memory_asked_mb: int | None
    encoded: int | None  # images that an `extract` job encoded


@dataclass(frozen=True)
class RuleCost:
    """All jobs of one rule."""

    rule: str
    jobs: Sequence[Job]

    @property
    def cells(self) -> list[str]:
        """Return the row of the table, without the rule's name."""
        jobs = self.jobs
        encoding = [job for job in jobs if job.encoded]
        images, seconds = sum(job.encoded or 0 for job in encoding), sum(job.seconds for job in encoding)
        return [
            str(len(jobs)),
            _hours(job.seconds for job in jobs),
            _hours(None if job.cores is None else job.cores * job.seconds for job in jobs),
            _hours(job.cpu_seconds for job in jobs),
            _hours(None if job.gpus is None else job.gpus * job.seconds for job in jobs),
            _largest(job.memory_mb for job in jobs),
            _largest(job.memory_asked_mb for job in jobs),
            f"{images / seconds:.1f}" if images else DASH,
        ]


class Accounted(NamedTuple):
    """What SLURM's accounting says of all attempts: by the state in which they ended."""

    state: str
    attempts: int
    cpu_hours: float
    gpu_hours: float


def write(results: Path, workdir: Path) -> Path | None:
    """Write the page for the benchmark files below `results`; return its path, None where there are none."""
    costs = by_rule(read_jobs(results))
    if not costs:
        return None
    path = results / "benchmarks" / PAGE
    artifacts.publish(path, _render(costs, accounted(run_ids(workdir))).encode())
    return path


def after_run(results: Path, workdir: Path) -> None:
    """Write the page where a run has ended well. That it cannot be written is said, and is no failure of the run."""
    try:
        write(results, workdir)
    except Exception as error:
        log.warning("the page of cost was not written (%s: %s); `visionfm cost` shows why", type(error).__name__, error)


def read_jobs(results: Path) -> list[Job]:
    """Return all jobs that have a benchmark file."""
    return [_job(path, results) for path in sorted((results / "benchmarks").glob("*/**/*.tsv"))]


def by_rule(jobs: Iterable[Job]) -> list[RuleCost]:
    """Return the jobs by rule, the longest first."""
    found: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        found[job.rule].append(job)
    costs = [RuleCost(rule, jobs) for rule, jobs in found.items()]
    return sorted(costs, key=lambda cost: -sum(job.seconds for job in cost.jobs))


def _job(path: Path, results: Path) -> Job:
    # Not by `csv`, which refuses a field of more than 128 KiB: Snakemake writes the sizes of all inputs into one.
    head, *rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    row = dict(zip(head, rows[-1], strict=False))
    place = path.relative_to(results / "benchmarks")
    asked = dict(re.findall(r"'(gpu|nodes|mem_mb|_cores)': (\d+)", row.get("resources", "")))
    nodes = int(asked.get("nodes", 1))
    elsewhere = re.search(r"--gpus-per-node=(?:\w+:)?(\d+)", row.get("resources", ""))
    gpus = int(elsewhere[1]) * nodes if elsewhere else int(asked.get("gpu", 0))
    log = results / "logs" / place.with_suffix(".log")
    encoded = ENCODED.search(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else None
    memory_mb = _number(row.get("max_rss"))
    # Snakemake may look once only, at the shell, before the stage takes its place (the job ended, or a clock was set).
    measured = memory_mb is not None and memory_mb >= SHELL_MB
    return Job(
        rule=place.parts[0],
        seconds=float(row["s"]),
        cpu_seconds=_number(row.get("cpu_time")) if measured else None,
        memory_mb=memory_mb if measured else None,
        cores=int(asked["_cores"]) * nodes if "_cores" in asked else None,
        gpus=gpus if asked else None,
        memory_asked_mb=int(asked["mem_mb"]) if "mem_mb" in asked else None,
        encoded=int(encoded[1]) if encoded else None,
    )


def _number(text: str | None) -> float | None:
    """Return a benchmark's number; Snakemake writes NA or - for what it could not measure."""
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None


def _hours(seconds: Iterable[float | None]) -> str:
    known = list(seconds)
    if any(value is None for value in known):
        return DASH
    return f"{sum(value or 0.0 for value in known) / 3600:.2f}"


def _largest(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):,.0f}" if known else DASH


# --- SLURM's accounting ---------------------------------------------------------------------------------------------


def run_ids(workdir: Path) -> list[str]:
    """Return the names under which this folder's Snakemakes submitted their jobs."""
    logs = sorted((workdir / ".snakemake" / "log").glob("*.log"))
    found = [re.search(r"SLURM run ID: (\S+)", log.read_text(encoding="utf-8", errors="replace")) for log in logs]
    return [match[1] for match in found if match]


def accounted(ids: Sequence[str]) -> list[Accounted]:
    """Return what `sacct` knows of these runs' attempts; nothing where there is no accounting."""
    if not ids or shutil.which("sacct") is None:
        return []
    since = (datetime.now(UTC) - timedelta(days=ACCOUNTED_DAYS)).strftime("%Y-%m-%d")
    # -D: a requeued job has a row for each time it ran.
    ask = [
        "sacct",
        "-X",
        "-D",
        "-n",
        "-P",
        "-S",
        since,
        "--name",
        ",".join(ids),
        "-o",
        "State,CPUTimeRAW,ElapsedRaw,AllocTRES",
    ]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:  # as a site without accounting may have it
        return []
    return read_accounting(said.stdout) if said.returncode == 0 else []


def read_accounting(said: str) -> list[Accounted]:
    """Return the sums by state of lines `State|CPUTimeRAW|ElapsedRaw|AllocTRES`."""
    sums: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in said.splitlines():
        state, cpu_s, elapsed_s, devices = line.split("|")
        gpus = re.search(r"gres/gpu=(\d+)", devices)
        sums[state.split()[0]].append((int(cpu_s), int(elapsed_s) * (int(gpus[1]) if gpus else 0)))
    return [
        Accounted(state, len(rows), sum(cpu for cpu, _ in rows) / 3600, sum(gpu for _, gpu in rows) / 3600)
        for state, rows in sorted(sums.items())
    ]


def _render(costs: Sequence[RuleCost], accounting: Sequence[Accounted]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    here = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined)
    total = RuleCost("all rules", [job for cost in costs for job in cost.jobs])
    css = Markup((here / "page.css").read_text())
    return environment.get_template(TEMPLATE).render(costs=[*costs, total], accounting=accounting, css=css)
