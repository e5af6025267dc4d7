"""After a kill of Snakemake, the same command again goes on; where the folder stayed locked, it says what to do."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rerun_project import CHECKOUT, Project
from world.counts import times
from zygote import kill

from visionfm import artifacts

TARGET = "results/datasets/a/images.parquet"
SLOW_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
SIGNALS = [signal.SIGINT, signal.SIGKILL, *(pytest.param(sent, marks=pytest.mark.slow) for sent in SLOW_SIGNALS)]
# The stage is done, but its job is not, when the signal comes: Snakemake calls its output incomplete.
SLOW = """#!/bin/sh
if [ "$1" = index ] && [ -e slow ]; then
    rm slow; {real} "$@"; code=$?; touch started; sleep 3; exit $code
fi
exec {real} "$@"
"""


def command(project: Project, visionfm: Path) -> tuple[list[str], dict[str, str]]:
    """The command line of a Snakemake that is a process of its own, and its environment."""
    line = [sys.executable, "-m", "snakemake", "-s", str(CHECKOUT / "workflow/Snakefile"), TARGET, "--cores", "1"]
    return [*line, "--configfile", "config.yaml"], {**os.environ, "PATH": f"{visionfm}:{os.environ['PATH']}"}


def killed(project: Project, sent: signal.Signals) -> None:
    """Start the run and end it by a signal to Snakemake alone."""
    (project.folder / "slow").touch()
    slow = project.folder / "bin/visionfm"
    slow.parent.mkdir()
    slow.write_text(SLOW.format(real=project.commands / "visionfm"))
    slow.chmod(0o755)
    line, environment = command(project, slow.parent)
    with subprocess.Popen(line, cwd=project.folder, env=environment, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 300
        while not (project.folder / "started").exists():
            assert time.monotonic() < deadline
            assert run.poll() is None, run.stderr.read().decode() if run.stderr else ""
            time.sleep(0.1)
        run.send_signal(sent)
        run.communicate(timeout=120)


def again(project: Project) -> subprocess.CompletedProcess[str]:
    line, environment = command(project, project.commands)
    return subprocess.run(line, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)


def test_after_a_reboot_the_same_command_goes_on(
    fresh: Project, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Snakemake and its stages are killed at a random time; every second time .snakemake is lost."""
    reboots, rng = times(200, 2), random.Random(os.environ.get("FAULTS_SEED"))
    expected = fresh.copy(tmp_path / "clean")
    expected.run(TARGET)
    for number in range(reboots):
        project = fresh.copy(tmp_path / f"project{number}")
        (notes := project.folder / "pids").mkdir()
        line = [str(project.commands / "snakemake"), *command(project, project.commands)[0][3:]]
        environment = {**os.environ, "PATH": f"{project.commands}:{os.environ['PATH']}", "NOTE_PIDS": str(notes)}
        with subprocess.Popen(line, cwd=project.folder, env=environment, stderr=subprocess.DEVNULL) as run:
            while len(list(notes.iterdir())) < 2:  # Snakemake, and the stage
                assert run.poll() is None
                time.sleep(0.001)
            time.sleep(0.3 * rng.random())
            kill(notes)
        if number % 2:
            shutil.rmtree(project.folder / ".snakemake")
        else:
            project.run("--unlock")
        project.run(TARGET, "--rerun-incomplete")
        assert (project.folder / TARGET).read_bytes() == (expected.folder / TARGET).read_bytes()
    record_property("tried", reboots)


@pytest.mark.parametrize("sent", SIGNALS, ids=lambda sent: sent.name)
def test_the_same_command_again_goes_on(sent: signal.Signals, fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    killed(project, sent)
    done = again(project)
    if done.returncode:
        assert sent in (signal.SIGHUP, signal.SIGKILL) and "`visionfm unlock` clears" in done.stderr, done.stderr
        unlock = [str(project.commands / "visionfm"), "unlock"]
        assert subprocess.run(unlock, cwd=project.folder, check=False).returncode == 0
        done = again(project)
    assert done.returncode == 0, done.stderr
    assert artifacts.read_metadata(project.folder / TARGET)["stage"] == "index"
    assert not list((project.folder / ".snakemake/locks").glob("*"))
