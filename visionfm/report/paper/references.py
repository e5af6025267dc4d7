"""Citations: texts ask for what they rest on by name, and references.bib has what was asked for, and no more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionfm.config.yaml_files import read_yaml

LIBRARY = Path(__file__).with_name("references.yaml")
OWN = ("of", "checked", "type")


class References:
    """The library, and which of it the texts of this run cite."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        """`versions`: of the packages, which stand in their entries."""
        self.entries: dict[str, dict[str, Any]] = dict(read_yaml(LIBRARY).values)
        self.versions = versions
        self.cited: set[str] = set()

    def cite(self, *names: str) -> str:
        """Return ` [@key; @key]` of all that the library has for these names; empty where it has nothing."""
        keys = [key for key, entry in self.entries.items() if any(name in entry["of"] for name in names)]
        self.cited |= set(keys)
        return f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else ""

    def bib(self) -> str:
        """Return the cited entries as BibTeX, in the library's order."""
        return "\n".join(self._entry(key, entry) for key, entry in self.entries.items() if key in self.cited)

    def _entry(self, key: str, entry: Mapping[str, Any]) -> str:
        fields = {name: value for name, value in entry.items() if name not in OWN}
        package = next((name.split(" ", 1)[1] for name in entry["of"] if name.startswith("package ")), None)
        if package is not None and package in self.versions:
            said = [f"version {self.versions[package]}", *([fields["note"]] if "note" in fields else [])]
            fields["note"] = ", ".join(said)
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
        return "\n".join([f"@{entry['type']}{{{key},", *lines, "}", ""])
