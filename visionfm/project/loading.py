"""Reads a config: all errors at once, each with its line and the nearest known key."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from visionfm.config.yaml_files import Location, dotted, read_yaml
from visionfm.errors import ConfigError, Problems
from visionfm.project.config import Config
from visionfm.project.messages import described
from visionfm.project.references import reference_problems

DO = "correct these lines; docs/config.md lists every key"


def load_config(*paths: str | Path) -> Config:
    """Return the config of one file, or of several merged from left to right; ConfigError has all its problems."""
    merged: dict[str, Any] = {}
    lines: dict[Location, str] = {}
    problems = Problems(ConfigError, ", ".join(str(path) for path in paths))
    for path in paths:
        raw, places, found = read_yaml(path)
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
