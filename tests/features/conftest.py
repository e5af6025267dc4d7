"""Small projects for the tests of features."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from world.small_project import Project, write_encoder, write_images


@pytest.fixture(scope="session")
def first_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the encoder that projects start with, once."""
    return write_encoder(tmp_path_factory.mktemp("encoder") / "results/encoders/fundus/encoder.safetensors")


@pytest.fixture
def new_project(tmp_path: Path, first_encoder: Path) -> Callable[..., Project]:
    """Return a function that makes a project of some images in a new folder."""

    def make(count: int = 5, name: str = "run") -> Project:
        project = Project(tmp_path / name)
        project.encoder.parent.mkdir(parents=True)
        shutil.copyfile(first_encoder, project.encoder)
        write_images(project.root, count)
        project.reindex()
        return project

    return make


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    """Return a project of five images."""
    return new_project()
