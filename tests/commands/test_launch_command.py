"""`visionfm launch` starts a stage as the GPUs and nodes ask for."""

import os
import sys
from pathlib import Path

import pytest

from visionfm.cli import main
from visionfm.runtime.devices import CORES

STAGE = ["extract", "--out", "x.h5"]


class Became(Exception):
    """The command that this process would have become."""


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def execvp(name: str, command: list[str]) -> None:
        raise Became(command)

    monkeypatch.setattr(os, "execvp", execvp)
    for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES", CORES):
        monkeypatch.setenv(name, "")  # what a test makes of it ends with it
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))  # neither nvidia-smi nor SLURM


def became(*arguments: str) -> list[str]:
    with pytest.raises(Became) as found:
        main(["launch", *arguments, "--", *STAGE])
    return list(found.value.args[0])


def slurm(monkeypatch: pytest.MonkeyPatch, folder: Path, nodes: str) -> None:
    """Two nodes whose names are no names of hosts."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_JOB_NODELIST", nodes)
    client = folder / "scontrol"
    client.write_text(
        '#!/bin/sh\n[ "$2" = node ] && echo "NodeName=$3 NodeAddr=10.0.0.7 NodeHostName=x" && exit\n'
        "echo node1; echo node2\n"
    )
    client.chmod(0o755)


def test_one_gpu_is_the_stage_itself() -> None:
    assert became("--gpus", "1") == [sys.executable, "-m", "visionfm", *STAGE]


def test_several_gpus_are_one_process_each() -> None:
    command = became("--gpus", "4")
    assert command[1:4] == ["-m", "torch.distributed.run", "--standalone"]
    assert "--nproc-per-node=4" in command
    assert command[-6:] == ["-m", "--", "visionfm", *STAGE]


def test_each_process_knows_its_cores() -> None:
    became("--gpus", "1")
    assert CORES not in os.environ
    became("--gpus", "4", "--threads", "32")
    assert os.environ[CORES] == "8"


def test_several_nodes_start_one_task_each_which_starts_torchrun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slurm(monkeypatch, tmp_path, "node[1-2]")
    step = became("--gpus", "2", "--nodes", "2", "--threads", "6")
    assert step[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert "--cpus-per-task=6" in step
    inside = step[step.index("launch") + 1 : step.index("--")]
    command = became(*inside)
    assert {"--nnodes=2", "--nproc-per-node=2", "--rdzv-id=12", "--rdzv-endpoint=10.0.0.7:29512"} <= set(command)
    assert command[-6:] == ["-m", "--", "visionfm", *STAGE]


def test_several_nodes_without_slurm_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "--gpus", "1", "--nodes", "2", "--", *STAGE]) == 2
    assert "several nodes need SLURM" in capsys.readouterr().err


def test_a_step_on_fewer_nodes_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm(monkeypatch, tmp_path, "node[1-2]")
    assert main(["launch", "--gpus", "1", "--nodes", "3", "--inside", "--", *STAGE]) == 2
    assert "3 nodes" in capsys.readouterr().err


def test_no_stage_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "--gpus", "1"]) == 2
    assert "no stage" in capsys.readouterr().err


def test_torchrun_leaves_the_options_of_a_stage_alone() -> None:
    """Its own parser would take `--log` for an abbreviation."""
    from torch.distributed.run import parse_args

    command = became("--gpus", "2")
    taken = parse_args([*command[3:], "--log", "x.log", "--settings", "{}"])
    assert (taken.training_script, taken.module) == ("visionfm", True)
    assert taken.training_script_args == [*STAGE, "--log", "x.log", "--settings", "{}"]
