"""A section of docs/config.md: a block of the config, what it is, an example, and its recipes' values.

A test puts the examples together and checks that they are one valid config.
"""

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from visionfm.config.recipe import Recipe

FIXED = "What does not stand as code belongs to the recipe and cannot be set."


class RecipeTable(NamedTuple):
    """Recipes of one family, by what stands above their column."""

    text: str
    model: type[Recipe]
    files: dict[str, Path]


class Section(NamedTuple):
    """A block of the page: `path` is how the config reaches it."""

    model: type[BaseModel]
    path: str
    text: str
    example: str = ""
    recipes: tuple[RecipeTable, ...] = ()
