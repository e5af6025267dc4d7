"""Recipes for tests: a published or modern one with some fields changed."""

from typing import Any

from visionfm.pretraining.block import Pretrain, Recipe


def recipe(name: str = "published", **fields: Any) -> Recipe:
    init = "weights.pth" if fields.get("init_head") else None
    return Pretrain(datasets=["eyes"], arch="vit_tiny_patch16_224", init=init, recipe=name, **fields).recipe_values()
