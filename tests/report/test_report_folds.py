"""With folds every image is tested once, and what the page says of test images counts them all."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from visionfm.report.sections.audit import doubts
from visionfm.report.sections.datasets import in_folds


@pytest.mark.parametrize(
    ("splits", "tested"),
    [
        ([("folds", "folds"), ("folds", "folds")], 2),
        ([("folds", "test"), ("train", "test")], 2),
        ([("train", "validation"), ("test", "train")], 1),
    ],
)
def test_identical_images_with_different_labels_are_with_a_test_image_where_they_are_in_folds(
    splits: list[tuple[str, str]], tested: int
) -> None:
    found = pd.DataFrame(splits, columns=["split", "other_split"]).assign(check="contradiction", detail="")
    (said,) = doubts(found, named=False)
    assert said.startswith(f"identical images with different labels: 2 pairs, {tested} with a test image")


def test_a_dataset_says_which_tasks_have_its_people_in_folds_and_do_not_read_its_splits() -> None:
    folded = {"grade": ["clinic"], "age": []}
    plan: Any = SimpleNamespace(config=SimpleNamespace(tasks=folded), folded_datasets=folded.get)
    assert in_folds(plan, "clinic") == ["in folds in grade, where the splits of this dataset play no part"]
    assert in_folds(plan, "other") == []
