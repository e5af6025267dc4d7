"""What all tests may use: the folder of real data, an empty run, small images, and commands that start at once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zygote
from PIL import Image
from world.checkout import SHARED

from visionfm.images import guarded
from visionfm.runtime.devices import GIVEN

pytest_plugins = ["world.browser", "world.fabricated"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden files, beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no shared data at {SHARED}; VISIONFM_SHARED names their folder")
    return SHARED


@pytest.fixture(scope="module", autouse=True)
def no_reading_process_stays() -> Iterator[None]:
    """End the process that reads DICOM and volumes."""
    yield
    guarded.end()


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `visionfm` and `snakemake` that run in forks of a warm process."""
    with zygote.warm(tmp_path_factory.mktemp("warm")) as (folder, _):
        yield folder


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `results` folder of an empty run, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def draw() -> Callable[..., Path]:
    """Write a small image whose pixels depend on `seed` alone; folders are made."""

    def draw(path: Path, seed: int = 0, size: tuple[int, int] = (6, 4)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return draw


@pytest.fixture(autouse=True)
def _no_gpus_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage notes of the GPUs that it was given ends with the test."""
    monkeypatch.setenv(GIVEN, "")
    monkeypatch.delenv(GIVEN)
