"""`visionfm verify PATH...`: checks that artefacts, or all below a folder, are whole and belong where they lie.

What Snakemake writes beside them, logs and benchmark files, carries none and is passed over.
"""

import argparse
import json
import logging
from itertools import pairwise
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts import formats
from visionfm.errors import ArtifactError, Problems

log = logging.getLogger("visionfm")
UNSEALED = ("logs", "benchmarks")  # folders of a results folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("paths", nargs="+", type=Path, help="artefacts, or folders of them (results/)")
    parser.add_argument("--show", action="store_true", help="print each artefact's metadata as JSON")


def main(args: argparse.Namespace) -> None:
    """Check each; damaged ones are listed together."""
    problems = Problems(ArtifactError, "verify")
    checked = 0
    for path in _artifacts(args.paths):
        try:
            metadata = artifacts.read_metadata(path)
        except ArtifactError as error:
            problems.add(f"{path}: {error.problem}")
            continue
        checked += 1
        if args.show:
            print(json.dumps({"path": str(path), **metadata}, sort_keys=True))
    problems.raise_if_any(do="`visionfm forget` what is damaged, delete what belongs elsewhere, then run again")
    log.info("verify: %d artefacts are as they were written", checked)


def _artifacts(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in formats.SUFFIXES and p.is_file())
            kept_too = artifacts.KEPT in path.parts
            found += [p for p in inside if _is_sealed(p) and (kept_too or artifacts.KEPT not in p.parts)]
        else:
            found.append(path)
    return found


def _is_sealed(path: Path) -> bool:
    parts = path.absolute().parts
    below_results = [after for name, after in pairwise(parts) if name == artifacts.RESULTS]
    return not any(name in UNSEALED for name in below_results)
