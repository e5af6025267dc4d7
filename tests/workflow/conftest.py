"""The small project before and after its first run, run by a warm process."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zygote
from rerun_project import Project, write_project


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `visionfm` and `snakemake` that run in forks of a warm process."""
    folder = tmp_path_factory.mktemp("warm")
    path = folder / "socket"
    server = subprocess.Popen([sys.executable, zygote.__file__, str(path)], start_new_session=True)
    deadline = time.monotonic() + 300  # it imports everything first, which takes long beside other work
    while not path.exists():
        assert server.poll() is None, "the warm process ended"
        assert time.monotonic() < deadline, "the warm process did not start in five minutes"
        time.sleep(0.1)
    zygote.write_wrappers(folder / "bin", path)
    yield folder / "bin"
    server.kill()


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> Project:
    """The project before its first run."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    write_project(folder)
    return Project(folder, commands)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, fresh: Project) -> Project:
    """The project after its first run; tests work on copies."""
    project = fresh.copy(tmp_path_factory.mktemp("finished") / "project")
    project.run()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return finished.copy(tmp_path / "project")
