"""An attentive head finds one small lesion among patch tokens that their mean does not show."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from world.decoder_data import BINARY, answered, image, predict_settings, splits_of, train_settings, write_cache
from world.decoder_data import write_samples as write
from world.tokens import LEVELS, PATCHES, WIDTH, lesions, write_tokens

from visionfm.config.recipe import read_recipe
from visionfm.errors import ArtifactError, ConfigError
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.heads import AttentiveHead
from visionfm.tasks.vectors.recipe import SOUND, Recipe

ATTENTIVE = SOUND.with_name("attentive.yaml")
VALUE = {"size": TargetSpec(type="value", unit="mm")}


def answers(folder: Path, cache: Path, truth_N: np.ndarray, targets: Mapping[str, TargetSpec], seed: int, **changes):
    """Train and predict; the table of predictions of the test split."""
    rows, splits = [[image(n)] for n in range(len(truth_N))], splits_of(len(truth_N))
    folder.mkdir(parents=True, exist_ok=True)
    table = write(folder / "s.parquet", rows, splits, {next(iter(targets)): truth_N.astype(float)}, targets)
    settings = train_settings(targets, seed=seed)
    recipe = changes.pop("recipe", settings.recipe).model_copy(update=changes)
    settings = settings.model_copy(update={"recipe": recipe})
    found = answered(folder, table, cache, settings, predict_settings(targets))
    return found[found["split"] == "test"]


def auroc(folder: Path, cache: Path, truth_N: np.ndarray, seed: int, **changes) -> float:
    found = answers(folder, cache, truth_N, BINARY, seed, **changes)
    return float(roc_auc_score(found["truth"], [scores[0] for scores in found["scores"]]))


def gain(folder: Path, count: int, seed: int, epochs: int) -> float:
    tokens_NLPD, sick_N = lesions(count, seed)
    mean_ND = tokens_NLPD[:, -1].mean(axis=1)
    vectors = write_cache(folder / "eyes.cls.h5", mean_ND[:, None, None], mean_ND[:, None], ("identity",))
    tokens = write_tokens(folder / "eyes.dense.h5", tokens_NLPD)
    linear = auroc(folder / "linear", vectors, sick_N, seed, features="patch_mean")
    recipe = read_recipe(Recipe, ATTENTIVE)
    return auroc(folder / "attentive", tokens, sick_N, seed, recipe=recipe, epochs=epochs) - linear


def test_one_small_lesion_is_found(tmp_path: Path) -> None:
    assert gain(tmp_path, 500, 0, 30) > 0.10


@pytest.mark.slow
def test_one_small_lesion_is_found_with_every_seed(tmp_path: Path) -> None:
    gains = np.array([gain(tmp_path / str(seed), 1000, seed, 60) for seed in range(3)])
    assert gains.min() > 0.10, gains
    assert gains.mean() - 4.30 * gains.std(ddof=1) / np.sqrt(3) > 0, "the interval of three seeds lies above 0"


def test_a_value_is_learned_from_tokens_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tokens_NLPD = rng.normal(size=(200, LEVELS, PATCHES, WIDTH)).astype(np.float32)
    size_N = rng.normal(size=200)
    tokens_NLPD[:, :, :, 0] += 2 * size_N[:, None, None]
    cache = write_tokens(tmp_path / "eyes.dense.h5", tokens_NLPD)
    recipe = read_recipe(Recipe, ATTENTIVE).model_copy(update={"epochs": 30})
    found = answers(tmp_path / "run", cache, size_N, VALUE, 0, recipe=recipe)
    assert np.corrcoef(found["truth"], found["value"])[0, 1] > 0.8


def test_at_first_every_answer_is_the_same_and_a_place_may_lie_anywhere() -> None:
    torch.manual_seed(0)
    head = AttentiveHead((LEVELS, PATCHES, WIDTH), 3)
    tokens_BLPD = torch.randn(4, LEVELS, PATCHES, WIDTH)
    assert not head(tokens_BLPD.flatten(1)).any()
    torch.nn.init.normal_(head.linear.weight)
    moved = tokens_BLPD[:, :, torch.randperm(PATCHES)]
    torch.testing.assert_close(head(moved.flatten(1)), head(tokens_BLPD.flatten(1)), rtol=1e-4, atol=1e-5)


def test_tokens_over_the_budget_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    tokens_NLPD, sick_N = lesions(20, 0)
    cache = write_tokens(tmp_path / "eyes.dense.h5", tokens_NLPD, streamed=True)
    with pytest.raises(ArtifactError, match="over the budget"):
        auroc(tmp_path / "run", cache, sick_N, 0, recipe=read_recipe(Recipe, ATTENTIVE))


def test_tokens_are_for_the_attentive_head_alone() -> None:
    with pytest.raises((ValueError, ConfigError), match="go together"):
        read_recipe(Recipe, SOUND, {"features": "tokens"})
