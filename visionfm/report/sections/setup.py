"""The report's last section: the whole config, and the versions that made the numbers."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from visionfm.artifacts.versions import VERSIONS
from visionfm.figures.section import Section
from visionfm.figures.tables import Cell, Table
from visionfm.report.data import Results

ABSOLUTE = re.compile(r"[/~\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://|(\.\.[/\\])+")  # also what leads out of the run
HIDDEN = "(hidden: an absolute path)"


class SetupView(NamedTuple):
    """The config as YAML, the versions of the program and of its stages."""

    config_yaml: str
    version: str
    stages: Table


def without_places(given: Any) -> Any:
    """Return plain values without absolute paths, which name users and hosts, and without ids of subjects."""
    if isinstance(given, Mapping):
        return {
            name: f"(hidden: {len(value)} subjects)" if name == "test_subjects" else without_places(value)
            for name, value in given.items()
        }
    if isinstance(given, list):
        return [without_places(value) for value in given]
    return HIDDEN if isinstance(given, str) and ABSOLUTE.match(given) else given


def sections(results: Results) -> list[Section]:
    """Return the section; the config is printed as it was given, where ids are hidden without places and subjects."""
    import yaml

    from visionfm import __version__

    given = results.given if results.config.report.ids == "shown" else without_places(results.given)
    config_yaml = yaml.safe_dump(dict(given), sort_keys=False, allow_unicode=True)
    rows = [[Cell(stage), Cell(str(version), numeric=True)] for stage, version in VERSIONS.items()]
    view = SetupView(config_yaml, __version__, Table("Versions of the stages", ["stage", "version"], rows))
    return [Section("report/sections/setup.html.j2", view, "Config and versions", "config", "Config", folded=True)]
