"""What all tests may use: the folder of real data, an empty run with its `results/`, and small images."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest_plugins = ["world.fabricated"]

SHARED = Path(os.environ.get("VISIONFM_SHARED", Path(__file__).resolve().parents[1] / ".." / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden files, beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no shared data at {SHARED}; VISIONFM_SHARED names their folder")
    return SHARED


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
