"""Reads a config: the project's only reader of YAML. All errors at once, each with its line and the nearest known key.

YAML's traps are closed: `1e-3` is a number, `no` is text, `010` is text, a key that stands twice is an error, objects
cannot be built.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from visionfm.config.messages import Location, described, dotted
from visionfm.config.references import reference_problems
from visionfm.config.schema import Config
from visionfm.errors import ConfigError, Problems

MAX_BYTES, MAX_NODES, MAX_DEPTH = 4_000_000, 50_000, 20
DO = "correct these lines; docs/config.md lists every key"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of numbers and booleans, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as the base declares it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; its keys were checked before."""
        return super().construct_mapping(node, deep=True)


_NUMBERS, _DIGITS, _EXPONENT = "-+.0123456789", "(?:0|[1-9][0-9]*)", "[eE][-+]?[0-9]+"
for _tag, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", "~|null|Null|NULL|", ("~", "n", "N", "")),
    ("int", f"[-+]?{_DIGITS}", _NUMBERS),
    # A float has a point or an exponent: 010 is neither, and stays text.
    ("float", rf"[-+]?(?:{_DIGITS}?\.[0-9]+|{_DIGITS}\.)(?:{_EXPONENT})?|[-+]?{_DIGITS}{_EXPONENT}", _NUMBERS),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("merge", "<<", "<"),
):
    for _letter in _first:
        _Loader.yaml_implicit_resolvers.setdefault(_letter, []).append(
            (f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"))
        )


def load_config(*paths: str | Path) -> Config:
    """Return the config of one file, or of several merged from left to right; ConfigError has all its problems."""
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
        for location, problem in [*described(invalid, raw), *reference_problems(raw)]:
            problems.add(f"{place(location)}{dotted(location)}: {problem}")
        problems.raise_if_any(do=DO)
        raise
    for location, problem in reference_problems(config.model_dump(mode="json")):
        problems.add(f"{place(location)}{dotted(location)}: {problem}")
    problems.raise_if_any(do=DO)
    return config


# --- YAML -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Any], dict[Location, str], list[str]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: a config of over {MAX_BYTES // 1_000_000} MB is none")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config {path} cannot be read", found=error, do="name an existing YAML file") from error
    lines: dict[Location, str] = {}
    problems: list[str] = []
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return {}, {}, []
        for location, line, doubled in _walk(node, ()):
            lines.setdefault(location, f"{path}:{line}: ")
            if doubled:
                problems.append(f"{path}:{line}: {dotted(location)}: stands twice; keep one")
            if len(lines) > MAX_NODES or len(location) > MAX_DEPTH:
                raise ConfigError(f"{path}:{line}: too many values, or too deep; are its aliases nested?")
        raw = loader.construct_document(node)
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply", do="write it as docs/config.md has it") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} is not valid YAML", found=" ".join(str(error).split()), do="correct the line"
        ) from error
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


def _place(lines: Mapping[Location, str], location: Location) -> str:
    """Return the line of a location, or of the nearest block around it (a missing key has no line)."""
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return ""
