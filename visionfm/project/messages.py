"""Says in plain words what is wrong with a config: pydantic's errors with plain locations and the nearest known key.

A choice (a list, or `none`, or a block) gives one message, not one for each of its branches.
"""

import difflib
import re
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from visionfm.config.yaml_files import Location
from visionfm.project.config import Config

KINDS = {
    "list_type": "a list",
    "dict_type": "a block of keys",
    "model_type": "a block of keys",
    "model_attributes_type": "a block of keys",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
}


def described(invalid: ValidationError, raw: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Yield (location, problem) of everything that does not fit the schema."""
    yield from _described([_Found(error) for error in invalid.errors(include_url=False)], raw, 0)


class _Found:
    """One of pydantic's errors; `location` is without the names of branches: `choices` has these with their places."""

    def __init__(self, error: Any) -> None:
        self.error = error
        self.location: Location = ()
        self.choices: list[tuple[Location, str]] = []
        self.known: list[str] = []  # keys of the block around it
        self.choices_of_key: list[str] = []  # the values that it can have, where there are few
        self.unions: list[tuple[str, Location, list[Any]]] = []  # tag's key, where, the models that it chooses among
        kind: Any = Config
        for part in (part for part in error["loc"] if part != "[key]"):
            options = _options(kind)
            if tag := _tag_key(options):
                self.unions.append((tag, self.location, options))
                kind = next((option for option in options if part in _tags(option, tag)), None)
                continue
            if len(options) > 1:
                self.choices.append((self.location, str(part)))
                kind = next((option for option in options if _is_branch(option, str(part))), None)
                continue
            kind = options[0] if options else None
            self.known = sorted(kind.model_fields) if _is_model(kind) else []
            kind = _inside(kind, part)
            self.location = (*self.location, part)
        if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
            options = _options(kind)
            tag = _tag_key(options)
            self.unions.append((tag, self.location, options))
            self.location = (*self.location, tag)
            self.choices_of_key = [name for option in options for name in _tags(option, tag)]
        elif get_origin(kind) is Literal:
            self.choices_of_key = [str(name) for name in get_args(kind)]


def _described(found: Iterable[_Found], raw: Mapping[str, Any], level: int) -> Iterator[tuple[Location, str]]:
    choices: dict[Location, list[_Found]] = defaultdict(list)
    for one in found:
        if len(one.choices) > level:
            choices[one.choices[level][0]].append(one)
        else:
            yield one.location, _sentence(one)
    for location, branches in choices.items():
        value = _value(raw, location)
        meant = [one for one in branches if _is_meant(one.choices[level][1], value)]
        if meant:
            yield from _described(meant, raw, level + 1)
        else:
            yield location, _none_of(branches, value)


def _sentence(found: _Found) -> str:
    error = found.error
    kind = error["type"]
    if kind == "extra_forbidden":
        if owners := _owners(found):
            return f"unknown key; only {owners} `{found.location[-1]}`"
        near = difflib.get_close_matches(str(found.location[-1]), found.known, n=1, cutoff=0.5)
        return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known: {', '.join(found.known)}"
    if kind in ("missing", "union_tag_not_found"):
        return f"missing; {_expected(found.choices_of_key)}" if found.choices_of_key else "missing"
    if kind == "union_tag_invalid":
        tag = found.unions[-1][0]
        return _one_of(found.choices_of_key, _block_value(error, tag))
    if kind == "string_pattern_mismatch":
        return f"expected a name of small letters, digits and _ that begins with a letter, found {error['input']!r}"
    if kind == "literal_error":
        said = _none_of([found], error["input"])
        owners = _owners(found, error["input"])
        return f"{said.split('; did you mean')[0]}; only {owners} it" if owners else said
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in KINDS:
        return f"expected {KINDS[kind]}, found {_shown(error['input'])}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, found {_shown(error['input'])}"


def _owners(found: _Found, value: object = None) -> str:
    """Return, as `NAMES have`, which other blocks of a choice have a key (or a key that can have this value)."""
    for tag, location, options in reversed(found.unions):
        inside = found.location[len(location) :]
        names = [name for option in options if _has(option, inside, value) for name in _tags(option, tag)]
        if names:
            names = names if tag == "kind" else [f"`{tag}: {name}`" for name in names]
            listed = [", ".join(names[:-1]), names[-1]] if len(names) > 1 else names
            return f"{' and '.join(listed)} {'have' if len(names) > 1 else 'has'}"
    return ""


def _has(kind: Any, location: Location, value: object) -> bool:
    """Tell whether a location exists inside a type, and can have a value where one is asked for."""
    if not location:
        return value is None or any(value in get_args(o) for o in _options(kind) if get_origin(o) is Literal)
    inside = [_inside(option, location[0]) for option in _options(kind)]
    return any(_has(option, location[1:], value) for option in inside if option is not None)


def _expected(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names]
    return "expected " + " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _one_of(names: Sequence[str], value: object) -> str:
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    return f"{_expected(names)}, found {_shown(value)}" + (f"; did you mean {near[0]!r}?" if near else "")


def _block_value(error: Any, key: str) -> object:
    return error["input"].get(key) if isinstance(error["input"], Mapping) else error["input"]


def _none_of(branches: Sequence[_Found], value: object) -> str:
    expected = [
        str(one.error["ctx"]["expected"]) if one.error["type"] == "literal_error" else KINDS.get(one.error["type"], "")
        for one in branches
    ]
    allowed = [name for text in expected for name in re.findall(r"'([^']+)'", text)]
    near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected {', or '.join(dict.fromkeys(filter(None, expected)))}, found {_shown(value)}{hint}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str | int | float | bool):
        return repr(value)
    return "a block of keys" if isinstance(value, Mapping) else "a list"


def _value(raw: Any, location: Location) -> Any:
    for part in location:
        raw = raw[part]
    return raw


# --- the schema's types ---------------------------------------------------------------------------------------------


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _tag_key(options: Sequence[Any]) -> str:
    """Return the key whose value chooses among blocks (`kind`, `mode`); empty for any other type."""
    keys = [key for key in ("kind", "mode") if len(options) > 1 and all(_tags(option, key) for option in options)]
    return keys[0] if keys else ""


def _tags(option: Any, key: str) -> tuple[str, ...]:
    """Return the values of the key that choose a block."""
    if not _is_model(option) or key not in option.model_fields:
        return ()
    return get_args(option.model_fields[key].annotation)


def _options(kind: Any) -> list[Any]:
    """Return the branches of a choice, None left out; another type is its only branch."""
    if hasattr(kind, "__metadata__"):
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [option for inner in get_args(kind) if inner is not type(None) for option in _options(inner)]
    return [kind]


def _inside(kind: Any, part: str | int) -> Any:
    if _is_model(kind):
        return kind.model_fields[str(part)].annotation if str(part) in kind.model_fields else None
    return get_args(kind)[-1] if get_origin(kind) in (dict, list) else None


def _is_branch(option: Any, tag: str) -> bool:
    """Tell whether pydantic's name for a branch (`list[...]`, `constrained-int`, `Statistics`) is this type."""
    origin = get_origin(option)
    if origin in (list, dict):
        return tag.startswith(f"{origin.__name__}[")
    if origin is Literal:
        return tag.startswith("literal[")
    return isinstance(option, type) and tag.removeprefix("constrained-") == option.__name__


def _is_meant(tag: str, value: object) -> bool:
    """Tell whether a value has the form of a branch, so that the branch's own errors say best what is wrong."""
    if isinstance(value, Mapping):
        return tag.startswith("dict[") or (tag[0].isupper() and "[" not in tag)
    if isinstance(value, list):
        return tag.startswith("list[")
    return tag.removeprefix("constrained-") == type(value).__name__
