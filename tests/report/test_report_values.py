"""Tables whose rows need values of their own: a label of many values, images left out, what `auto` chose among."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
from world.filled_tables import filled_table

from visionfm.report.data import DatasetTables
from visionfm.report.sections.datasets import _counts
from visionfm.report.sections.models import _tried
from visionfm.report.sections.tasks import _samples


def test_a_label_of_many_values_has_its_range_by_split() -> None:
    labels = pd.DataFrame({"split": ["train"] * 20 + ["test"] * 20, "group_id": [f"p{n // 2}" for n in range(40)]})
    labels["thickness"] = [None, *(200.0 + n for n in range(39))]
    table = _counts(DatasetTables("oct", "OCT", "data/oct", None, labels))[-1]
    assert table.caption == "oct: thickness"
    filled_table(table)
    cells = [[cell.text for cell in row] for row in table.rows]
    assert cells == [
        ["Training", "19", "1", "200", "209", "218"],
        ["Test", "20", "0", "219", "228", "238"],
        ["All", "39", "1", "200", "219", "238"],
    ]


def test_images_left_out_for_no_known_target_are_counted_among_the_samples() -> None:
    labels = pd.DataFrame({"path": ["a", "b", "c", "d"], "split": ["train", "train", "test", "train"]})
    images = [[{"dataset": "oct", "path": path}] for path in "ac"]
    samples = pd.DataFrame({"subject_id": ["p", "q"], "dataset": "oct", "split": ["train", "test"], "images": images})
    block = SimpleNamespace(datasets=["oct"], external=[])
    result: Any = SimpleNamespace(task="t", block=block, samples=samples, targets={})
    found: Any = SimpleNamespace(datasets=[DatasetTables("oct", "OCT", "data/oct", None, labels)])
    rows = [[cell.text for cell in row] for row in _samples(found, result).rows]
    assert rows[-1] == ["labelled images left out: no target is known", "2", "0", "2"]
    labels["path"] = ["a", "a", "c", "a"]
    assert len(_samples(found, result).rows) == len(rows) - 1


def test_what_auto_chose_among_has_a_row_per_run_and_candidate_and_no_table_without_a_choice() -> None:
    epochs = [("attention-tokens", 0.41, False), ("linear-cls", 0.375, True), ("linear-cls", 0.375, True)]
    training = pd.DataFrame(epochs, columns=["candidate", "candidate_loss", "chosen"])
    result: Any = SimpleNamespace(task="t", model="m", training={"seed0": training})
    table = _tried(result)
    assert table is not None
    filled_table(table)
    cells = [[cell.text for cell in row] for row in table.rows]
    assert cells == [["seed0", "attention on tokens", "0.410", ""], ["seed0", "linear on cls", "0.375", "yes"]]
    result.training = {"seed0": training[["chosen"]]}
    assert _tried(result) is None
