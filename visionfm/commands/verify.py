"""`visionfm verify PATH...`: checks that artefacts, or all below a folder, are whole and belong where they lie.

What Snakemake writes beside them, logs and benchmark files, carries none and is passed over. Files that were unpacked
for people to look at are compared with their archive. What the config of the last run here no longer has is listed by
itself: nothing reads it, so it may be out of date, but not damaged.
"""

import argparse
import json
import logging
from itertools import pairwise
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts import archive, formats, tree
from visionfm.errors import ArtifactError, OutOfDate, Problems

log = logging.getLogger("visionfm")
UNSEALED = ("logs", "benchmarks")  # folders of a results folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("paths", nargs="+", type=Path, help="artefacts, or folders of them (results/)")
    parser.add_argument("--show", action="store_true", help="print each artefact's metadata as JSON")


def main(args: argparse.Namespace) -> None:
    """Check each; damaged ones are listed together."""
    problems = Problems(ArtifactError, "verify")
    left_over = _LeftOver()
    unpacked = {marker.parent for path in args.paths if path.is_dir() for marker in path.rglob(archive.MARKER)}
    for path in (paths := _artifacts(args.paths, unpacked)):
        try:
            metadata = artifacts.read_metadata(path)
        except OutOfDate as error:
            if path not in left_over:
                problems.add(f"{path}: {error.problem}")
            continue
        except ArtifactError as error:
            problems.add(f"{path}: {error.problem}")
            continue
        if args.show:
            print(json.dumps({"path": str(path), **metadata}, sort_keys=True))
    for folder in sorted(unpacked):
        for name in _changed(folder, problems):
            problems.add(f"{folder / name}: it is not what {folder.name}.zip holds: keep what you edit elsewhere")
    problems.raise_if_any(do="`visionfm forget` what is damaged, delete what belongs elsewhere, then run again")
    log.info("verify: %d artefacts are as they were written", len(paths))
    if old := [str(path) for path in paths if path in left_over]:
        named = "\n".join(f"  {path}" for path in old)
        log.info("%d of them are no longer in the config; `visionfm forget` drops them:\n%s", len(old), named)


class _LeftOver:
    """The artefacts that the last plan of their run does not have; none where a run has no plan that can be read."""

    def __init__(self) -> None:
        self._planned: dict[Path, frozenset[Path]] = {}

    def __contains__(self, path: Path) -> bool:
        kept = artifacts.kept_path(path)
        if kept is None:
            return False
        folder = next(folder for folder in kept.parents if folder.name == artifacts.KEPT)
        results = folder.parent
        if results.parent not in self._planned:
            self._planned[results.parent] = _planned(results.parent)
        planned = self._planned[results.parent]
        artefact = results / tree.artefact_of(kept.relative_to(folder).as_posix())
        return bool(planned) and artefact not in planned


def _planned(run: Path) -> frozenset[Path]:
    from visionfm.project.loading import last_planned_config
    from visionfm.project.plan import Plan

    config = last_planned_config(run)
    return frozenset(run / name for name in Plan(config).everything()) if config is not None else frozenset()


def _artifacts(paths: list[Path], unpacked: set[Path]) -> list[Path]:
    """Return the files that carry metadata, below folders too, but for what was unpacked there."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in formats.SUFFIXES and p.is_file())
            kept_too = artifacts.KEPT in path.parts
            found += [
                p
                for p in inside
                if _is_sealed(p)
                and (kept_too or artifacts.KEPT not in p.parts)
                and not unpacked.intersection(p.parents)
            ]
        else:
            found.append(path)
    return found


def _changed(folder: Path, problems: Problems) -> list[str]:
    try:
        return archive.changed_since_unpacked(folder, folder.with_name(f"{folder.name}.zip"))
    except ArtifactError as error:
        problems.add(f"{folder}: {error.problem}")
        return []


def _is_sealed(path: Path) -> bool:
    parts = path.absolute().parts
    below_results = [after for name, after in pairwise(parts) if name == artifacts.RESULTS]
    return not any(name in UNSEALED for name in below_results)
