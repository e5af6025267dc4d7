"""The small project before and after its first run, run by a warm process; and the tutorial's folder."""

import re
from pathlib import Path

import pytest
from rerun_project import Project, write_project
from world.checkout import CHECKOUT
from world.scripts import run_script


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


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> tuple[Path, str]:
    """The folder in which the tutorial was run, and what it printed; tests that write work on copies."""
    page = (CHECKOUT / "docs/tutorial.md").read_text()
    folder = tmp_path_factory.mktemp("tutorial")
    script = folder / "tutorial.sh"
    script.write_text("\n".join(re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)))
    return folder, run_script(script, folder, commands)
