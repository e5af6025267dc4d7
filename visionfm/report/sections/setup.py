"""The report's last section: the whole config, and the versions that made the numbers."""

from typing import NamedTuple

from visionfm.artifacts.versions import VERSIONS
from visionfm.figures.section import Section
from visionfm.figures.tables import Cell, Table
from visionfm.report.data import Results


class SetupView(NamedTuple):
    """The config as YAML, the versions of the program and of its stages."""

    config_yaml: str
    version: str
    stages: Table


def sections(results: Results) -> list[Section]:
    """Return the section; the config is printed as it was given."""
    import yaml

    from visionfm import __version__

    config_yaml = yaml.safe_dump(dict(results.given), sort_keys=False, allow_unicode=True)
    rows = [[Cell(stage), Cell(str(version), numeric=True)] for stage, version in VERSIONS.items()]
    view = SetupView(config_yaml, __version__, Table("Versions of the stages", ["stage", "version"], rows))
    return [Section("report/sections/setup.html.j2", view, "Config and versions", "config", "Config")]
