"""Jobs on a machine without a scheduler never share a GPU."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visionfm.errors import UsageError
from visionfm.runtime import devices

CLAIM = "import os, sys, time; from visionfm.runtime import devices; devices.claim(int(sys.argv[1]))"
SHOW = f"{CLAIM}; print(os.environ.get('CUDA_VISIBLE_DEVICES', ''), flush=True); time.sleep(float(sys.argv[2]))"
BECOME = f"{CLAIM}; os.execvp('sh', ['sh', '-c', 'echo $CUDA_VISIBLE_DEVICES; sleep ' + sys.argv[2]])"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with four devices."""
    mine = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    return mine | {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "VISIONFM_GPU_LOCKS": str(tmp_path / "locks")}


def start(machine: dict[str, str], count: int, seconds: float, code: str = SHOW) -> subprocess.Popen:
    command = [sys.executable, "-c", code, str(count), str(seconds)]
    return subprocess.Popen(command, env=machine, stdout=subprocess.PIPE, text=True)


def seen(job: subprocess.Popen) -> set[str]:
    assert job.stdout is not None
    return set(job.stdout.readline().strip().split(","))


def test_jobs_that_run_together_have_different_devices(machine: dict[str, str]) -> None:
    jobs = [start(machine, 1, 20) for _ in range(4)]
    assert sorted(name for job in jobs for name in seen(job)) == ["0", "1", "2", "3"]
    for job in jobs:
        job.kill()
        job.wait()


def test_a_job_waits_until_enough_devices_are_free(machine: dict[str, str]) -> None:
    first, second = start(machine, 3, 30), None
    assert len(seen(first)) == 3
    second = start(machine, 2, 0)
    time.sleep(3)
    assert second.poll() is None
    first.kill()  # a killed job's claim ends with it
    assert len(seen(second)) == 2
    assert second.wait() == 0
    first.wait()


def test_the_claim_outlives_exec(machine: dict[str, str]) -> None:
    first = start(machine, 2, 30, BECOME)
    held = seen(first)
    second = start(machine, 2, 0)
    assert not held & seen(second)
    first.kill()
    first.wait()
    second.wait()


@pytest.mark.parametrize("told", [{"SLURM_JOB_ID": "7"}, {"VISIONFM_SHARE_GPUS": "1"}])
def test_nothing_is_claimed_under_slurm_or_when_told(
    machine: dict[str, str], told: dict[str, str], tmp_path: Path
) -> None:
    job = start(machine | told, 1, 0)
    assert seen(job) == {"0", "1", "2", "3"}
    assert job.wait() == 0
    assert not (tmp_path / "locks").exists()


def test_more_devices_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UsageError, match="at most 2"):
        devices.claim(3)


def test_devices_are_known_by_their_unique_names_and_slices_stand_for_their_device() -> None:
    listing = (
        "GPU 0: NVIDIA H100 (UUID: GPU-a1-b2)\n"
        "GPU 1: NVIDIA A100 (UUID: GPU-c3)\n"
        "  MIG 1g.5gb     Device  0: (UUID: MIG-d4)\n"
        "  MIG 1g.5gb     Device  1: (UUID: MIG-e5)\n"
        "GPU 2: NVIDIA H100 (UUID: GPU-f6)\n"
    )
    assert devices.unique_names(listing) == ["GPU-a1-b2", "MIG-d4", "MIG-e5", "GPU-f6"]
