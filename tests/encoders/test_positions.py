"""The published load-time rule of resizing position embeddings."""

import pytest
import torch

from visionfm.encoders.positions import grid_side, resize_positions
from visionfm.errors import DataError


def test_the_same_grid_is_left_alone_and_prefix_tokens_never_change() -> None:
    positions = torch.randn(1, 1 + 14 * 14, 8)
    assert resize_positions(positions, 1, 14) is positions
    resized = resize_positions(positions, 1, 32)
    assert resized.shape == (1, 1 + 32 * 32, 8)
    assert torch.equal(resized[:, :1], positions[:, :1])


def test_it_is_bicubic_to_a_size_without_antialiasing() -> None:
    positions = torch.randn(1, 5 + 8 * 8, 6)
    for side in (5, 20):
        grid = positions[0, 5:].T.reshape(1, 6, 8, 8)
        expected = torch.nn.functional.interpolate(
            grid, (side, side), mode="bicubic", align_corners=False, antialias=False
        )
        found = resize_positions(positions, 5, side)[0, 5:].T.reshape(1, 6, side, side)
        torch.testing.assert_close(found, expected)


def test_rows_and_columns_are_not_swapped() -> None:
    rows = torch.arange(4.0).repeat_interleave(4).view(1, 16, 1)
    resized = resize_positions(rows, 0, 8).view(8, 8)
    assert (resized[0] - resized[0, 0]).abs().max() < 1e-6
    assert resized[-1, 0] > resized[0, 0] + 2


def test_a_grid_that_is_no_square_is_an_error() -> None:
    assert grid_side(197, 1) == 14
    assert grid_side(197, 0) is None
    with pytest.raises(DataError, match="square"):
        resize_positions(torch.zeros(1, 1 + 15, 4), 1, 4)
