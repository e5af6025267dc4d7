"""Masks are distributed as those of the published code (published system, 3.4)."""

import numpy as np
from world.pretraining_recipes import recipe

from visionfm.pretraining.masking import block_mask, draw_mask, random_mask
from visionfm.pretraining.order import sample_rng


def shares(draws: int, **fields: object) -> np.ndarray:
    chosen = recipe(**fields)
    return np.array([draw_mask(chosen, 14, 0, np.random.default_rng(seed)).mean() for seed in range(draws)])


def test_over_5000_draws_half_the_crops_hide_nothing_and_the_others_a_third_on_average() -> None:
    share = shares(5000)
    hidden = share[share > 0]
    # Published, over 600 crops: zero share 0.527, mean of the others 0.297, range 0.08 to 0.49; tolerances are 4 s.e.
    assert abs((share == 0).mean() - 0.5) < 4 * np.sqrt(0.25 / 5000)
    assert abs(hidden.mean() - 0.297) < 0.01
    assert 0.02 < hidden.min() < 0.12 and 0.45 < hidden.max() <= 0.5


def test_a_block_mask_never_hides_more_than_asked_and_rarely_much_less() -> None:
    asked = 0.4 * 14 * 14
    hidden = np.array([block_mask(14, asked, np.random.default_rng(seed)).sum() for seed in range(500)])
    assert hidden.max() <= asked and np.median(hidden) >= asked - 3


def test_blocks_are_rectangles_of_the_published_aspects() -> None:
    ratios = []
    for seed in range(2000):
        mask = block_mask(14, 30.0, np.random.default_rng(seed))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        if mask.sum() == height * width:
            ratios.append(height / width)
    assert len(ratios) > 300
    low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])  # a few are two blocks side by side
    assert 0.25 < low < 0.5 and 0.7 < middle < 1.4 and 2 < high < 4


def test_a_random_mask_hides_exactly_the_whole_number_below() -> None:
    assert random_mask(14, 58.8, np.random.default_rng(0)).sum() == 58


def test_nothing_is_hidden_before_its_epoch() -> None:
    late = recipe(mask_start_epoch=2, mask_ratio=[0.3], mask_spread=[0.0])
    assert [bool(draw_mask(late, 14, epoch, np.random.default_rng(0)).any()) for epoch in (0, 1, 2)] == [
        False,
        False,
        True,
    ]


def test_a_mask_depends_on_seed_epoch_and_image_alone() -> None:
    chosen = recipe(mask_ratio=[0.3], mask_spread=[0.2])
    masks = [draw_mask(chosen, 14, 1, sample_rng(chosen, 1, 5, "masks")) for _ in range(2)]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != draw_mask(chosen, 14, 1, sample_rng(chosen, 1, 6, "masks"))).any()
