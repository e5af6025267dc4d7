"""What a reader has to know before the numbers stands above them."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from visionfm.report.cautions import not_moved


def results(mode: str, best: int) -> Any:
    """A task with one decoder, whose best epoch of 0, 1 and 2 is `best`."""
    curve = pd.DataFrame({"epoch": [0, 1, 2], "best": [number == best for number in range(3)]})
    baseline = pd.DataFrame({"parameter": ["C"], "best": [True]})
    result = SimpleNamespace(task="dr", model="tiny", training={"seed0": curve, "logreg": baseline})
    task = SimpleNamespace(training=SimpleNamespace(mode=mode))
    return SimpleNamespace(results=[result], config=SimpleNamespace(tasks={"dr": task}))


@pytest.mark.parametrize(
    ("mode", "best", "named"), [("finetune", 0, True), ("finetune", 2, False), ("frozen", 0, False)]
)
def test_a_fine_tuning_that_moved_nothing_is_called_what_it_is(mode: str, best: int, named: bool) -> None:
    assert not_moved(results(mode, best)) == (["dr / tiny (seed0)"] if named else [])
