"""A run of the small project on the test cluster: started as a user starts it, watched, broken and compared."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from cluster import Cluster

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
EAGER = Path(__file__).with_name("eager_snakemake.py")
TIMEOUT_S = 1200  # a run takes one to two minutes on an idle machine; a busy one may take ten times as long
# The overlay for tests: quicker polling and smaller nodes. Everything else is the profile as it is shipped.
OVERLAY = [
    "--slurm-init-seconds-before-status-checks",
    "1",
    "--latency-wait",
    "10",
    "--resources",
    "mem_mb=12000",
    "gpu=4",
]
NOT_COMPARED = ("logs", "benchmarks", ".kept")
SHARDS = [f"results/features/fundus/fundus.cls160.{shard}.h5" for shard in (0, 1)]
Change = Callable[[dict[str, Any]], None]


def slow_extraction(config: dict[str, Any]) -> None:
    """Some ten seconds per shard, and shards too wide to share a node: 5 of its 8 cores each."""
    config["encoders"]["fundus"].update(image_size=160)
    config["encoders"]["fundus"]["resources"].update(threads=5)


class Start(NamedTuple):
    """A stage that started in a job, and the devices it saw."""

    stage: str
    job: str
    devices: str


def _launched(words: list[str]) -> list[str]:
    return [words[words.index("--") + 1]] if words[0] == "launch" and "--" in words else []


@dataclass
class Run:
    """A folder with data, a config and results."""

    folder: Path
    cluster: Cluster
    commands: Path  # `visionfm` and `snakemake` in forks of a warm process
    started: list[subprocess.Popen] = field(default_factory=list)

    def configure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit the config."""
        path = self.folder / "config.yaml"
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def note_starts(self, warm: bool = True) -> None:
        """Put a `visionfm` before the real one that notes the job and the devices of each stage that starts.

        Stages then run in the warm process; `warm=False` where a job's own processes are killed with it.
        """
        path = self.folder / "bin/visionfm"
        path.parent.mkdir()
        real = f"{self.commands}/visionfm" if warm else f"{sys.executable} -m visionfm"
        path.write_text(
            "#!/bin/sh\n"
            f'echo "$1 ${{SLURM_JOB_ID-none}} ${{CUDA_VISIBLE_DEVICES-none}} $*" >> {self.folder}/starts.txt\n'
            f'exec {real} "$@"\n'
        )
        path.chmod(0o755)

    def forget_starts(self) -> None:
        """Note what follows alone."""
        (self.folder / "starts.txt").unlink()

    def starts(self, stage: str) -> list[Start]:
        """Return the starts of a stage, by `launch` or by itself."""
        lines = [line.split() for line in (self.folder / "starts.txt").read_text().splitlines()]
        return [Start(stage, words[1], words[2]) for words in lines if stage in (words[0], *_launched(words))]

    def outputs(self) -> list[str]:
        """Return what the started stages were to write, in order."""
        return re.findall(r" --out (\S+)", (self.folder / "starts.txt").read_text())

    # --- starting ---------------------------------------------------------------------------------------------------

    def start(self, *arguments: str, warn_seconds: int = 300, timeout_s: int = TIMEOUT_S) -> subprocess.Popen:
        """Start `snakemake --profile slurm` in the background; its output goes to snakemake.log."""
        site = ["--config", "cpu_partition=cpu", "gpu_partition=gpu", f"warn_seconds={warn_seconds}"]
        command = ["timeout", "-k", "5", str(timeout_s), sys.executable, str(EAGER), *self._workflow, *OVERLAY, *site]
        command += ["--profile", str(CHECKOUT / "slurm"), *arguments]
        with (self.folder / "snakemake.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.started.append(process)
        return process

    def finish(self, *arguments: str, fails: bool = False, **settings: int) -> str:
        """Run `snakemake --profile slurm` to its end; return what it printed."""
        process = self.start(*arguments, **settings)
        code = process.wait()
        assert (code != 0) == fails, self.said[-6000:]
        return self.said

    def local(self, *arguments: str) -> None:
        """Run the workflow in this folder without a cluster, in a warm process: what the cluster is compared with."""
        command = ["timeout", "-k", "5", str(TIMEOUT_S), "snakemake", *self._workflow, "--cores", "2", *arguments]
        plain = {name: text for name, text in self.warm_environment.items() if name != "SLURM_CONF"}
        done = subprocess.run(command, cwd=self.folder, env=plain, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    def refused(self, *arguments: str) -> str:
        """Start a Snakemake that has to fail at once; return why."""
        command = ["timeout", "-k", "5", "120", "snakemake", *self._workflow, "--cores", "1", *arguments]
        done = subprocess.run(command, env=self.warm_environment, capture_output=True, text=True, check=False)
        assert done.returncode not in (0, 124), done.stdout
        return done.stdout + done.stderr

    def unlock(self) -> None:
        """Say that no Snakemake is at work in the folder."""
        command = ["timeout", "-k", "5", "120", "snakemake", *self._workflow, "--cores", "1", "--unlock"]
        subprocess.run(command, env=self.warm_environment, check=True, capture_output=True)

    def end(self) -> None:
        """End what the test left running."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if jobs := self.cluster.jobs():
            self.cluster.ask("scancel", *jobs)
            self.until("the jobs are gone", lambda: not self.cluster.jobs(), 60)

    @property
    def _workflow(self) -> list[str]:
        files = ["-s", str(CHECKOUT / "workflow/Snakefile"), "--configfile", str(self.folder / "config.yaml")]
        return [*files, "--directory", str(self.folder)]

    @property
    def environment(self) -> dict[str, str]:
        """Return a user's environment, in which this checkout is installed."""
        mine = self.cluster.environment
        mine["PATH"] = f"{self.folder / 'bin'}:{self.cluster.folder / 'bin'}:{BIN}:{os.environ['PATH']}"
        return mine | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}

    @property
    def warm_environment(self) -> dict[str, str]:
        """Return the same environment, in which `snakemake` and `visionfm` run in forks of a warm process."""
        return self.environment | {"PATH": f"{self.commands}:{self.environment['PATH']}"}

    # --- watching ---------------------------------------------------------------------------------------------------

    @property
    def said(self) -> str:
        """Return what the last Snakemake printed."""
        return (self.folder / "snakemake.log").read_text()

    def until(self, what: str, happened: Callable[[], Any], seconds: float = 600) -> Any:
        """Wait for something; return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := happened():
                return found
            time.sleep(0.3)
        logs = "\n".join(path.read_text()[-1500:] for path in self.folder.glob(".snakemake/slurm_logs/*/*.log"))
        raise AssertionError(f"waited {seconds:g} s in vain until {what}\n{self.said[-3000:]}\n{logs}")

    def jobs(self, name: str = "") -> list[dict[str, str]]:
        """Return the jobs that the last Snakemake submitted whose rule or group is so named, oldest first."""
        run = re.search(r"SLURM run ID: (\S+)", self.said)
        known = [job for job in self.cluster.history() if run and job["JobName"] == run[1]]
        return [job for job in known if job["Comment"].startswith(f"rule_{name}")]

    def running(self, name: str) -> dict[str, str] | None:
        """Return a job of this rule that runs now."""
        return next((job for job in self.jobs(name) if job["JobState"] == "RUNNING"), None)

    def log(self, path: str) -> str:
        """Return the log of a stage, empty before there is one."""
        file = self.folder / "results/logs" / path
        return file.read_text() if file.exists() else ""

    def results(self) -> dict[str, bytes]:
        """Return all artefacts, by path."""
        root = self.folder / "results"
        paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        return {str(path): (root / path).read_bytes() for path in sorted(paths) if path.parts[0] not in NOT_COMPARED}


def assert_same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert sorted(found) == sorted(expected)
    differing = [path for path in expected if found[path] != expected[path]]
    assert not differing, f"differ: {differing}"
