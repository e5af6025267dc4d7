"""Reads YAML files: the project's only reader of them, with the line of each value.

YAML's traps are closed: `1e-3` is a number, `no` is text, `010` is text, a key that stands twice is an error, objects
cannot be built.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from visionfm.errors import ConfigError

Location = tuple[str | int, ...]
MAX_BYTES, MAX_NODES, MAX_DEPTH = 4_000_000, 50_000, 20


def dotted(location: Location) -> str:
    """Return a location as `datasets.idrid.root`."""
    parts = [str(part) for part in location]
    return ".".join(part if part.isprintable() else repr(part) for part in parts) or "(top)"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of numbers and booleans, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as the base declares it

    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Build a node; so many that no config has them are not waited for."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.YAMLError(f"more than {MAX_NODES:,} values, which no config has")
        return super().compose_node(parent, index)

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


class Read(NamedTuple):
    """A file's values, the place of each (`config.yaml:12: `), and the keys that stand twice."""

    values: dict[str, Any]
    places: dict[Location, str]
    problems: list[str]


def read_yaml(path: str | Path) -> Read:
    """Return the mapping that a YAML file holds; ConfigError for anything else."""
    path = Path(path)
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
            return Read({}, {}, [])
        for location, line, doubled in _walk(node, ()):
            lines.setdefault(location, f"{path}:{line}: ")
            if doubled:
                problems.append(f"{path}:{line}: {dotted(location)}: stands twice; keep one")
            if len(lines) > MAX_NODES or len(location) > MAX_DEPTH:
                raise ConfigError(f"{path}:{line}: too many values, or too deep; are its aliases nested?")
        raw = _values(loader, node)
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply", do="write it as docs/config.md has it") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} is not valid YAML", found=" ".join(str(error).split()), do="correct the line"
        ) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected blocks (encoders:, datasets:, ...)", found=type(raw).__name__)
    return Read(raw, lines, problems)


def _values(loader: _Loader, node: yaml.Node) -> Any:
    """Return a document's values; YAMLError also where a tag or a number is none that Python can hold."""
    try:
        return loader.construct_document(node)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise yaml.YAMLError(f"a value that cannot be read: {str(error)[:100]}") from error


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
