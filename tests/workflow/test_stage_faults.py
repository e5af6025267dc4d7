"""Each stage killed at a random time, or on a disk that is full somewhere: the same command again ends in equal bytes.

A sample here; `make test-faults` tries as many as the matrix of faults wants.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rerun_cases import RULES
from rerun_project import Call, Project
from world.counts import SCALE, times
from zygote import kill

from visionfm import artifacts

SAMPLE = ("index", "extract", "train", "report")  # in every run of the tests
FAULTS = pytest.mark.parametrize("stage", RULES if SCALE else SAMPLE)
SUFFIXES = (".parquet", ".h5", ".html", ".safetensors")
Record = Callable[[str, object], None]


def outputs(project: Project, call: Call) -> dict[Path, bytes]:
    """What a stage of the first run wrote."""
    pairs = zip(call.arguments, call.arguments[1:], strict=False)
    paths = [project.folder / path for flag, path in pairs if flag.startswith("--") and flag.endswith("out")]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def forget(paths: Iterator[Path] | dict[Path, bytes]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
        if kept := artifacts.kept_path(path):
            kept.unlink(missing_ok=True)


def start(project: Project, call: Call) -> tuple[subprocess.Popen[str], Path]:
    """Start the stage, in a fork of the warm process; its process id will be the name of a file in a folder."""
    notes = project.folder / "pids"
    shutil.rmtree(notes, ignore_errors=True)
    notes.mkdir()
    command = [str(project.commands / "visionfm"), *call.arguments]
    environment = {**os.environ, "NOTE_PIDS": str(notes)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=project.folder, env=environment, **pipes), notes  # type: ignore[call-overload]


def again(project: Project, call: Call, expected: dict[Path, bytes]) -> None:
    """The same command ends in the bytes of the first run."""
    process, _ = start(project, call)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 0 and "Traceback" not in said, said
    assert {path: path.read_bytes() for path in expected} == expected


@FAULTS
def test_a_stage_killed_at_a_random_time_ends_in_equal_bytes(
    stage: str, project: Project, record_property: Record
) -> None:
    call = next(one for one in project.first_run if one.stage == stage)
    expected = outputs(project, call)
    forget(expected)
    began = time.monotonic()
    again(project, call, expected)
    whole_s = time.monotonic() - began
    rng, kills, died = random.Random(f"{stage}{os.environ.get('FAULTS_SEED', '')}"), times(200, 2), 0
    for _ in range(kills):
        forget(expected)
        process, notes = start(project, call)
        while not list(notes.iterdir()):
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(whole_s * rng.random())
        kill(notes)
        process.communicate(timeout=60)
        died += process.returncode != 0
        for path, content in expected.items():
            assert not path.exists() or path.read_bytes() == content, path
        again(project, call, expected)
    record_property("tried", died)  # the others were done before


@FAULTS
def test_a_stage_on_a_full_disk_says_so_and_ends_in_equal_bytes_when_there_is_room(
    stage: str, project: Project, tmp_path: Path, record_property: Record
) -> None:
    call = next(one for one in project.first_run if one.stage == stage)
    expected = outputs(project, call)
    forget(expected)
    before, results = tmp_path / "before", project.folder / "results"
    results.rename(before)
    results.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(results)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here (not root)")
    try:
        subprocess.run(["cp", "-a", f"{before}/.", str(results)], check=True)
        shutil.rmtree(results / "logs")  # a log begun anew would give its room to a small artefact
        there, needed = used(results), sum(map(len, expected.values()))
        sizes, full = times(64, 2), 0
        for number in range(sizes):
            forget(expected)
            old = {path: path.read_bytes() for path in results.rglob("*") if path.suffix in SUFFIXES}
            resize(results, there + int(1.1 * needed * number / sizes))
            process, _ = start(project, call)
            said = process.communicate(timeout=600)[1]
            assert process.returncode in (0, 3), (process.returncode, said)
            if process.returncode:
                assert "the disk is full" in said and "Traceback" not in said, said
                full += 1
            assert all(path.read_bytes() == content for path, content in old.items())
            assert not list(results.rglob("*.tmp"))
            resize(results, 1 << 30)
            again(project, call, expected)
        record_property("tried", sizes)
        assert full  # the first has no room at all
    finally:
        subprocess.run(["umount", "-l", str(results)], check=True)


def used(folder: Path) -> int:
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
