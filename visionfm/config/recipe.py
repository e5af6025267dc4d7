"""Recipes as data: a model that says what every hyper-parameter is, and YAML files that hold its values.

A hyper-parameter stands in its family's model (type, bounds, meaning), in the recipes' files (values) and where it is
used. The optional keys of the config's block and their tables in docs/config.md are made from the model. A file may
begin with `like: OTHER.yaml`: it then has that file's values but for its own.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from visionfm.config.base import Strict
from visionfm.config.yaml_files import read_yaml

BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length")
T = TypeVar("T")
Fixed = Annotated[T, "fixed"]  # a value that comes from the recipe's file alone: no key of the config


class Recipe(Strict):
    """Base of the families' models: every hyper-parameter of a training, each with its value."""


R = TypeVar("R", bound=Recipe)


@lru_cache
def _values(path: Path) -> dict[str, Any]:
    own = dict(read_yaml(path).values)
    like = own.pop("like", None)
    return own if like is None else {**_values((path.parent / like).resolve()), **own}


def read_recipe(model: type[R], path: Path, given: Mapping[str, Any] | None = None) -> R:
    """Return the recipe of a file, with the values that are given in place of its own.

    Of a block inside it only those keys count that were set. ValueError where the values do not fit each other.
    """
    values = dict(_values(path))
    for name, value in (given or {}).items():
        both = isinstance(value, BaseModel) and isinstance(values.get(name), Mapping)
        values[name] = {**values[name], **value.model_dump(exclude_unset=True)} if both else value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        plain = [str(e["ctx"]["error"]) for e in error.errors() if "error" in e.get("ctx", {})]
        raise ValueError("; ".join(plain) or str(error)) from error


def settable(model: type[Recipe]) -> dict[str, FieldInfo]:
    """Return the hyper-parameters that a config may set."""
    return {name: field for name, field in model.model_fields.items() if "fixed" not in field.metadata}


def optional_keys(model: type[Recipe], without: Collection[str] = ()) -> dict[str, Any]:
    """Return the keys of a config's block for `create_model`: within the model's bounds, and unset unless set."""
    return {name: _optional(field) for name, field in settable(model).items() if name not in without}


def given_keys(block: BaseModel, model: type[Recipe]) -> dict[str, Any]:
    """Return the hyper-parameters that a block sets."""
    values = {name: getattr(block, name, None) for name in settable(model)}
    return {name: value for name, value in values.items() if value is not None}


def _optional(field: FieldInfo) -> tuple[Any, Any]:
    bounds = {name: getattr(entry, name) for entry in field.metadata for name in BOUNDS if hasattr(entry, name)}
    return field.annotation | None, Field(None, description=field.description, **bounds)  # type: ignore[operator]
