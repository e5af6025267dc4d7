"""Reads a config: all errors at once, each with its line and the nearest known key."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from visionfm.artifacts import publish
from visionfm.config.yaml_files import Location, dotted, read_yaml
from visionfm.errors import ConfigError, Problems, UsageError
from visionfm.project.arithmetic import settled
from visionfm.project.config import Config
from visionfm.project.messages import described
from visionfm.project.references import reference_problems

PLANNED = "VISIONFM_PLANNED_CONFIG"
PLANS = Path(".snakemake/visionfm")  # below a run's folder
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


def planned_config(*paths: str | Path, planning: bool, written: Config | None = None) -> Config:
    """Return the config as it is where jobs are planned, and in a job of these as it was then.

    A queued job may start hours after its plan, when the files have been edited for the next run. So the plan leaves a
    copy below `.snakemake/`, whose name jobs inherit. `written` is the config of these files, where it was read before.
    """
    copy = os.environ.get(PLANNED)
    if not planning and copy and Path(copy).is_file():
        return Config.model_validate_json(Path(copy).read_text(encoding="utf-8"))
    config = written or load_config(*paths)
    if planning:
        config = settled(config)
        text = config.model_dump_json(exclude_unset=True)
        place = PLANS / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        publish(place, text.encode())
        os.environ[PLANNED] = str(place.resolve())
    return config


def require_files(given: object, whole: object, options: Mapping[str, Any]) -> None:
    """Refuse what would be overlooked, for a config is read from its files: UsageError.

    `given` is the config that this workflow was handed, `whole` that of the workflow above, where it is a module;
    `options` are the words of `--config` and of the profile.
    """
    if given != whole:
        raise UsageError(
            "a module's config that is not the whole config of the workflow above",
            expected="config: config",
            where="the `module` block",
            do="give this workflow a config file of its own (configfile:), and the other workflows theirs",
        )
    if said := [name for name in options if name in Config.model_fields]:
        raise UsageError(
            "a part of the config on the command line",
            found=", ".join(said),
            where="--config, or a profile's `config`",
            do="write it into a file; a second one goes over the first: --configfile my.yaml changes.yaml",
        )


def last_planned_config(run: Path) -> Config | None:
    """Return the config that was planned last in a run's folder; None where there is none that this version reads."""
    copies = sorted((run / PLANS).glob("*.json"), key=lambda copy: copy.stat().st_mtime_ns)
    if not copies:
        return None
    try:
        return Config.model_validate_json(copies[-1].read_text(encoding="utf-8"))
    except ValueError:  # of another version of this program
        return None


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
