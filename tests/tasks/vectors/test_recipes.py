"""Recipes: the published numbers, and what the config may change."""

import pytest
from world.decoder_data import BINARY, train_settings

from visionfm.tasks.settings import TargetSpec

VALUE = {"iop": TargetSpec(type="value")}


def test_published_recipes_have_the_published_numbers():
    single = train_settings(recipe="published").recipe
    assert (single.optimizer, single.weight_decay, single.schedule, single.epochs) == ("adamw", 0.05, "cosine", 100)
    multi = train_settings(recipe="published", modalities=["Fundus", "OCT"]).recipe
    assert (multi.optimizer, multi.weight_decay, multi.schedule, multi.batch_size) == ("sgd", 0, "constant", 128)
    values = train_settings(VALUE, recipe="published").recipe
    assert (values.head, values.optimizer, values.weight_decay, values.epochs) == ("RegHead", "adamw", 0.05, 500)


def test_published_learning_rate_scales_with_the_batch_and_that_of_regression_does_not():
    multi = train_settings(recipe="published", modalities=["Fundus", "OCT"], batch_size=8192).recipe
    assert multi.learning_rate(7, 8192, 3072) == pytest.approx(0.032)
    values = train_settings(VALUE, recipe="published", batch_size=4096).recipe
    assert values.learning_rate(7, 4096, 3072) == pytest.approx(0.001)


def test_cosine_ends_at_zero():
    recipe = train_settings(recipe="published").recipe
    assert recipe.learning_rate(0, 256, 9) == pytest.approx(0.001)
    assert recipe.learning_rate(50, 256, 9) == pytest.approx(0.0005)
    assert recipe.learning_rate(100, 256, 9) == pytest.approx(0)


def test_settings_win_over_the_recipe():
    recipe = train_settings(BINARY, epochs=3, lr=0.5, features="cls", class_weighting="balanced").recipe
    assert (recipe.epochs, recipe.lr, recipe.features, recipe.class_weighting) == (3, 0.5, "cls", "balanced")
    assert train_settings().recipe.features == "both"


def test_batches_grow_with_the_training_set():
    recipe = train_settings().recipe
    assert [recipe.batch(count) for count in (10, 300, 5000, 10**6)] == [32, 32, 250, 512]
