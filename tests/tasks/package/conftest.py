"""What the tests of packages share: a small finished run, and a model of it."""

from pathlib import Path

import numpy as np
import pytest
from world.decoder_data import BINARY
from world.handed_over import COUNT, Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("handed"))


@pytest.fixture(scope="session")
def hidden() -> np.ndarray:
    return np.random.default_rng(3).normal(size=COUNT)


@pytest.fixture(scope="session")
def sick(run: Run, hidden: np.ndarray) -> Path:
    """A calibrated yes or no with sets and thresholds."""
    wanted = {"operating_points": {"sensitivity 0.9": ["sensitivity", 0.9]}, "conformal": 0.8}
    labels = (hidden > 0).astype(float)
    return run.task("sick", BINARY, labels, kind="classification", calibrate="platt", evaluate=wanted)


@pytest.fixture(scope="session")
def sick_model(run: Run, sick: Path) -> Path:
    return run.packaged(sick)
