"""Reads a config: the project's only reader of YAML. All errors at once, each with its line and the nearest known key.

YAML's traps are closed: `1e-3` is a number, `no` is text, `010` is text, a key that stands twice is an error, objects cannot be built.
"""

import difflib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from visionfm.config.references import reference_problems
from visionfm.config.schema import Config
from visionfm.errors import ConfigError, Problems

Location = tuple[str | int, ...]
MAX_BYTES, MAX_NODES = 4_000_000, 200_000


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of numbers and booleans, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; its keys were checked before."""
        return super().construct_mapping(node, deep=True)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    for _letter in _first if _tag != "null" else ["~", "n", "N", ""]:
        _Loader.yaml_implicit_resolvers.setdefault(_letter, []).append(
            (f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"))
        )


def load_config(*paths: str | Path) -> Config:
    """Return the config of one file, or of several merged from left to right; raise ConfigError with all its problems."""
    merged: dict[str, Any] = {}
    lines: dict[Location, str] = {}
    problems = Problems(ConfigError, ", ".join(str(path) for path in paths))
    for path in paths:
        raw, places, found = _read(Path(path))
        merged = _merge(merged, raw)
        lines.update(places)
        for problem in found:
            problems.add(problem)
    return parse_config(merged, lambda location: _place(lines, location), problems)


def parse_config(
    raw: Mapping[str, Any], place: Callable[[Location], str] = lambda location: "", problems: Problems | None = None
) -> Config:
    """Return the config of plain values; `place` turns a location into a prefix such as `config.yaml:12: `."""
    problems = problems if problems is not None else Problems(ConfigError, "config")
    try:
        config = Config.model_validate(raw)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            location = tuple(part for part in error["loc"] if part != "[key]")
            problems.add(place(location) + _describe(location, error, raw))
        for location, problem in reference_problems(raw):
            problems.add(f"{place(location)}{_dotted(location)}: {problem}")
        problems.raise_if_any(do="correct these lines; docs/config.md lists every key")
        raise
    for location, problem in reference_problems(config.model_dump(mode="json")):
        problems.add(f"{place(location)}{_dotted(location)}: {problem}")
    problems.raise_if_any(do="correct these lines; docs/config.md lists every key")
    return config


# --- YAML -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Any], dict[Location, str], list[str]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: a config of over {MAX_BYTES // 1_000_000} MB is none")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config {path} cannot be read", found=error, do="name an existing YAML file") from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Location, str] = {}
        problems: list[str] = []
        if node is None:
            return {}, {}, []
        for location, line, doubled in _walk(node, ()):
            lines.setdefault(location, f"{path}:{line}: ")
            if doubled:
                problems.append(f"{path}:{line}: {_dotted(location)}: stands twice; keep one")
            if len(lines) > MAX_NODES:
                raise ConfigError(f"{path}: more than {MAX_NODES} values; are its aliases nested?")
        raw = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML", found=" ".join(str(error).split()), do="correct the line") from error
    finally:
        loader.dispose()
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected blocks (encoders:, datasets:, ...)", found=type(raw).__name__)
    return raw, lines, problems


def _walk(node: yaml.Node, location: Location) -> Iterator[tuple[Location, int, bool]]:
    yield location, node.start_mark.line + 1, False
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            place = (*location, str(key.value))
            yield place, key.start_mark.line + 1, str(key.value) in seen
            seen.add(str(key.value))
            yield from _walk(value, place)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*location, index))


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


# --- messages -------------------------------------------------------------------------------------------------------


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location) or "(top)"


def _place(lines: Mapping[Location, str], location: Location) -> str:
    """Return the line of a location, or of the nearest block around it (a missing key has no line)."""
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return ""


def _describe(location: Location, error: Any, raw: Mapping[str, Any]) -> str:
    kind, where = error["type"], _dotted(location)
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    if kind == "missing":
        return f"{where}: missing"
    if kind == "string_pattern_mismatch":
        return f"{where}: expected a name of small letters, digits and _ that begins with a letter, found {error['input']!r}"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']+)'", error["ctx"]["expected"])
        near = difflib.get_close_matches(str(error["input"]), allowed, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{where}: expected {error['ctx']['expected']}, found {error['input']!r}{hint}"
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}"
    found = error["input"]
    shown = repr(found) if isinstance(found, str | int | float | bool) or found is None else type(found).__name__
    return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}, found {shown}"


def _known_keys(location: Location) -> list[str]:
    """Return the keys that a block of the config may have."""
    kinds: list[Any] = [Config]
    for part in location:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return sorted({name for kind in kinds for model in _models(kind) for name in model.model_fields})


def _models(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for inner in get_args(kind) for model in _models(inner)] if _is_union(kind) else []


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) or hasattr(kind, "__metadata__")


def _inside(kind: Any, part: str | int) -> Sequence[Any]:
    if _is_union(kind):
        return [found for inner in get_args(kind) for found in _inside(inner, part)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind.model_fields[str(part)].annotation] if str(part) in kind.model_fields else []
    if get_origin(kind) in (dict, list):
        return [get_args(kind)[-1]]
    return []
