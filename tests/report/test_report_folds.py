"""With folds every image is tested once, and what the page says of test images counts them all."""

import pandas as pd
import pytest

from visionfm.report.sections.audit import doubts


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
