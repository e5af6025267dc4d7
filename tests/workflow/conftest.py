"""The small project before and after its first run, run by a warm process."""

from pathlib import Path

import pytest
from rerun_project import Project, write_project


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
    project.first_run = tuple(project.run())
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return finished.copy(tmp_path / "project")
