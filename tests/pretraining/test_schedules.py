"""Schedules equal the published ones, and stand for any number of epochs."""

from pathlib import Path

import numpy as np
import pytest
from world.pretraining_recipes import recipe

from visionfm.pretraining.schedules import Schedules


def test_every_schedule_equals_the_golden_one(shared: Path) -> None:
    golden = np.load(shared / "golden" / "schedules.npz")
    schedules = Schedules(recipe(epochs=100), steps_per_epoch=10, batch=128)
    values = [schedules.at(step) for step in range(1000)]
    assert schedules.total == 1000
    for name, key in (("lr", "lr"), ("weight_decay", "weight_decay"), ("momentum", "momentum")):
        np.testing.assert_allclose([getattr(v, name) for v in values], golden[key], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([v.teacher_temp for v in values[::10]], golden["teacher_temp"], rtol=1e-9)
    np.testing.assert_allclose([v.patch_temp for v in values[::10]], golden["teacher_patch_temp"], rtol=1e-9)
    assert [v.last_layer_frozen for v in values] == [step < 30 for step in range(1000)]


@pytest.mark.parametrize("epochs", [1, 2, 3, 29, 50])
def test_a_training_shorter_than_its_warmups_warms_up_for_half_of_it(epochs: int) -> None:
    schedules = Schedules(recipe(epochs=epochs), steps_per_epoch=4, batch=256)
    values = [schedules.at(step) for step in range(schedules.total)]
    peak = int(np.argmax([v.lr for v in values]))
    assert values[peak].lr == pytest.approx(7.5e-5) and abs(peak + 1 - schedules.total / 2) <= 1
    assert values[-1].teacher_temp == pytest.approx(0.04) and values[-1].patch_temp == pytest.approx(0.07)
    assert not values[-1].last_layer_frozen


def test_the_patch_temperature_waits_for_the_first_mask() -> None:
    schedules = Schedules(recipe(epochs=100, mask_start_epoch=5), steps_per_epoch=1, batch=128)
    assert [schedules.at(epoch).patch_temp for epoch in (0, 4, 5, 34)] == pytest.approx([0.04, 0.04, 0.04, 0.07])
