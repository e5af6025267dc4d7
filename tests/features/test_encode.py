"""Signals lose little, several processes give the bytes of one, and the shape of batches fits the machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from world.small_project import Project, write_images

from visionfm import artifacts
from visionfm.errors import DataError, Stopped
from visionfm.features import encode

NewProject = Callable[..., Project]
ROOT = Path(__file__).resolve().parents[2]
SLOW_ENCODER = """
import sys, time
from visionfm.encoders.vit import Encoder
from visionfm.cli import main
quick = Encoder.cls_and_mean
def slow(self, images):
    time.sleep(0.2)
    return quick(self, images)
Encoder.cls_and_mean = slow
if __name__ == "__main__":
    sys.exit(main())
"""


def parts_of(project: Project) -> list[Path]:
    return sorted(project.folder.glob("results/features/fundus/*.parts/*.h5"))


def test_a_signal_saves_what_is_done_and_the_next_run_goes_on_from_there(
    new_project: NewProject, tmp_path: Path
) -> None:
    project, clean = new_project(60), new_project(60, name="clean")
    script = tmp_path / "slow.py"
    script.write_text(SLOW_ENCODER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), "extract", *project.arguments(workers=1, batch_size=4)]
    log = tmp_path / "log"
    process = subprocess.Popen([*command, "--log", str(log)], env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while not _has_workers(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.8)
    os.killpg(process.pid, signal.SIGTERM)  # as a scheduler does: the workers get it too
    assert process.wait(timeout=20) == Stopped.exit_code
    assert "SIGTERM" in log.read_text()
    assert parts_of(project)
    assert not project.out.exists()
    project.extract()
    assert project.out.read_bytes() == clean.extract()
    assert not parts_of(project)
    assert not list(project.folder.glob("results/.kept/**/*.parts"))


@pytest.mark.parametrize("command", ["extract", "embed"])
def test_a_killed_worker_ends_the_command_with_a_message(command: str, new_project: NewProject, tmp_path: Path) -> None:
    project = new_project(60)
    script = tmp_path / "slow.py"
    script.write_text(SLOW_ENCODER)
    given = ["embed", project.root, "--encoder", project.encoder, "--out", tmp_path / "x.h5", "--size", "32"]
    given += ["--workers", "2", "--batch-size", "4"]
    arguments = ["extract", *project.arguments(workers=2, batch_size=4)] if command == "extract" else given
    log = tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments), "--log", str(log)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 300  # imports take long beside other work
    while not _workers(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.8)
    os.kill(_workers(process.pid)[0], signal.SIGKILL)
    try:
        assert process.wait(timeout=120) == DataError.exit_code
    finally:
        process.kill()
    assert "a process that decodes images was killed" in log.read_text()


def _has_workers(pid: int) -> bool:
    return bool(_workers(pid))


def _workers(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("needs /proc to see the worker processes")
    children = listed.read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


def test_a_kill_loses_what_came_after_the_last_part(
    new_project: NewProject, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "visionfm")
    project, clean = new_project(8), new_project(8, name="clean")
    monkeypatch.setattr(encode, "PART_IMAGES", 2)
    monkeypatch.setattr(encode, "CPU_ROWS", (2, 2))
    publish = artifacts.write_hdf5

    def killed_at_the_third_part(path: Path, *given: object, **named: object) -> None:
        if len(parts_of(project)) == 2:
            raise KeyboardInterrupt
        publish(path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(artifacts, "write_hdf5", killed_at_the_third_part)
    with pytest.raises(KeyboardInterrupt):
        project.extract()
    monkeypatch.setattr(artifacts, "write_hdf5", publish)
    assert len(parts_of(project)) == 2
    caplog.clear()
    assert project.extract() == clean.extract()
    assert "encoded 4, reused 4" in caplog.text
    assert not parts_of(project)


def test_two_processes_give_the_bytes_of_one(new_project: NewProject) -> None:
    alone, shared = new_project(11), new_project(11, name="shared")
    (alone.root / "eyes/copy.jpg").write_bytes((alone.root / "eyes/000.jpg").read_bytes())
    (shared.root / "eyes/copy.jpg").write_bytes((shared.root / "eyes/000.jpg").read_bytes())
    for project in (alone, shared):
        project.reindex()
    views = ["identity", "h"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    def run() -> str:
        command = [*torchrun, "-m", "visionfm", "extract", *shared.arguments(views=views, workers=1)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stderr

    assert "encoded 11, reused 1" in run()
    assert shared.out.read_bytes() == alone.extract(views=views)
    assert not parts_of(shared)
    write_images(shared.root, 12)
    shared.reindex()
    assert "encoded 1, reused 12" in run()


def test_large_encoders_get_small_batches_on_a_cpu() -> None:
    def rows(dim: int, patch: int, size_px: int) -> int:
        return encode.cpu_rows(SimpleNamespace(dim=dim, patch=patch), size_px)  # type: ignore[arg-type]

    assert rows(192, 16, 224) == 16
    assert rows(768, 16, 224) == 4
    assert rows(1024, 14, 518) == 4
