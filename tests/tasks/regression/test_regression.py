"""Losses and values of regression: masks, standardisation, the published raw targets."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from world.decoder_data import named

from visionfm.errors import DataError
from visionfm.tasks.regression.fit import Regression, fit_targets
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.recipe import sound

PUBLISHED_REGRESSION = named("regression/recipes/published.yaml")
SOUND = sound()
TARGETS = {"iop": TargetSpec(type="value", unit="mmHg"), "axial": TargetSpec(type="value", unit="mm", weight=3)}
NAMES = list(TARGETS)


def kind_of(recipe, truth_NT, targets=TARGETS):
    return Regression(targets, recipe, *fit_targets(recipe, truth_NT, NAMES))


def truth(count=40):
    rng = np.random.default_rng(0)
    truth_NT = np.column_stack([rng.normal(16, 3, count), rng.normal(24, 0.5, count)])
    truth_NT[::4, 1] = np.nan
    return truth_NT


def test_standardisation_uses_known_training_values_and_is_undone_in_predictions():
    truth_NT = truth()
    kind = kind_of(SOUND, truth_NT)
    iop, axial = kind.predict(torch.tensor([[0.0, 0], [1, 1]]))
    assert iop.values[:, 0] == pytest.approx(
        [np.mean(truth_NT[:, 0]), np.mean(truth_NT[:, 0]) + np.std(truth_NT[:, 0])]
    )
    assert axial.values[0, 0] == pytest.approx(np.nanmean(truth_NT[:, 1]))
    assert axial.slot.target.unit == "mm"


def test_published_loss_is_smooth_l1_of_raw_targets():
    truth_NT = np.nan_to_num(truth(), nan=24)
    targets = {name: TargetSpec(type="value") for name in NAMES}
    outputs_NK = torch.randn(40, 2) + 15
    found = kind_of(PUBLISHED_REGRESSION, truth_NT, targets).loss(outputs_NK, torch.tensor(truth_NT).float())
    assert float(found) == pytest.approx(float(functional.smooth_l1_loss(outputs_NK, torch.tensor(truth_NT).float())))


def test_unknown_values_teach_nothing_and_weights_count():
    truth_NT = truth()
    outputs_NK = torch.zeros(40, 2, requires_grad=True)
    kind_of(SOUND, truth_NT).loss(outputs_NK, torch.tensor(truth_NT).float()).backward()
    assert outputs_NK.grad[::4, 1].abs().max() == 0
    assert outputs_NK.grad.isfinite().all()
    assert outputs_NK.grad[1::4, 1].abs().mean() > outputs_NK.grad[1::4, 0].abs().mean()


def test_published_selection_is_the_relative_error():
    truth_NT = np.array([[10.0, 2], [20, 4]])
    kind = kind_of(PUBLISHED_REGRESSION, truth_NT)
    _, score = kind.score(torch.tensor([[13.0, 2], [20, 3]]), torch.tensor(truth_NT).float())
    assert score == pytest.approx(-np.mean([1.5 / 15, 0.5 / 3]))


def test_a_target_that_is_never_known_is_an_error():
    truth_NT = truth()
    truth_NT[:, 1] = np.nan
    with pytest.raises(DataError, match="axial"):
        kind_of(SOUND, truth_NT)
