from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from world.checkout import SHARED

from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("the golden files (../shared/golden) are not here")
    return folder


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Path]:
    """Import with the given settings to a fresh file."""
    count = iter(range(100))

    def run(weights: str | Path | None = None, **settings: object) -> Path:
        out = tmp_path / f"encoder{next(count)}" / "encoder.safetensors"
        chosen = {"modality": "Fundus", **settings}
        import_encoder(ImportSettings(weights=None if weights is None else str(weights), **chosen), out)
        return out

    return run
