"""Recipes for tests, with some fields changed, and the networks of a published one."""

from typing import Any

import torch

from visionfm.pretraining.block import Pretrain
from visionfm.pretraining.networks import Pair, build_vit, pair_of
from visionfm.pretraining.recipe import FAMILIES, ContinuedRecipe, Recipe

SMALL = {
    "image_size": 64,
    "head_hidden": 24,
    "head_bottleneck": 8,
    "out_dim": 16,
    "patch_out_dim": 16,
    "drop_path": 0.0,
}


def recipe(name: str = "published", **fields: Any) -> Recipe:
    continued = issubclass(FAMILIES[name], ContinuedRecipe)
    init = "weights.pth" if continued or fields.get("init_head") else None
    return Pretrain(datasets=["eyes"], arch="vit_tiny_patch16_224", init=init, recipe=name, **fields).recipe_values()


def pair(**fields: object) -> Pair:
    chosen = recipe(**{**SMALL, **fields})
    torch.manual_seed(0)
    vits = [build_vit("test_vit", None, chosen) for _ in range(2)]
    vits[1].load_state_dict(vits[0].state_dict())
    return pair_of(vits, chosen)
