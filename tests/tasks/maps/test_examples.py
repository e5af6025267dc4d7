"""Training examples of maps keep image, mask and points together."""

import numpy as np
import pytest

from visionfm.images.geometry import swapped_order
from visionfm.tasks.maps.examples import Example, flipped

NAMES, SWAPS = ["left", "apex", "right"], [["left", "right"]]


@pytest.mark.parametrize(
    ("view", "swaps", "expected"),
    [
        ("h", SWAPS, [[np.nan, np.nan], [5, 0], [9, 2]]),
        ("hv", SWAPS, [[np.nan, np.nan], [5, 7], [9, 5]]),
        ("v", SWAPS, [[1, 5], [5, 7], [np.nan, np.nan]]),
        ("h", [], [[9, 2], [5, 0], [np.nan, np.nan]]),
    ],
)
def test_pairs_change_places_when_left_and_right_do_and_only_then(view: str, swaps: list, expected: list) -> None:
    points_K2 = np.array([[1.0, 2.0], [5.0, 0.0], [np.nan, np.nan]])
    example = Example(None, np.zeros((8, 11, 3), np.uint8), None, points_K2)  # type: ignore[arg-type]
    found = flipped(example, view, swapped_order(NAMES, swaps))
    np.testing.assert_array_equal(found.points_K2, expected)
