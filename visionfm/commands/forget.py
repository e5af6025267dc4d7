"""`visionfm forget PATH...`: drops artefacts together with their kept copies; the next run computes them again.

Only what a stage wrote is dropped: a file with a kept copy, or with the seal of an artefact. Whatever else lies below
results/ stays.
"""

import argparse
import logging
import os
import shutil
from pathlib import Path

from visionfm import artifacts
from visionfm.errors import UsageError

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "paths", nargs="+", help="artefacts or folders; `encoders/oct` is short for `results/encoders/oct`"
    )


def main(args: argparse.Namespace) -> None:
    """Drop each."""
    for name in args.paths:
        path = (
            Path(name)
            if Path(name).exists() or name.startswith(f"{artifacts.RESULTS}/")
            else Path(artifacts.RESULTS) / name
        )
        _forget(path, _kept_copy(path))


def _kept_copy(path: Path) -> Path:
    """Return where the kept copies of an artefact, or of a folder's, lie; UsageError for all that is no result."""
    kept = artifacts.kept_path(path)
    # The folder results/ must be named, and hold kept copies: a run may itself lie below a folder of that name.
    parts = Path(os.path.normpath(path)).parts
    if kept is None or artifacts.RESULTS not in parts or not _holds_results(kept):
        raise UsageError("only artefacts below results/ can be forgotten", found=path, do="name one below results/")
    if parts[-1] == artifacts.RESULTS or artifacts.KEPT in parts:
        raise UsageError(
            "this would forget all results", found=path, do="delete the folder results/ itself if that is meant"
        )
    if not path.exists() and not kept.exists():
        raise UsageError("there is nothing to forget", where=path, do="name an artefact or a folder below results/")
    return kept


def _forget(path: Path, kept: Path) -> None:
    inside = [found for found in path.rglob("*") if found.is_file()] if path.is_dir() else [path]
    there = [found for found in inside if found.is_file()]
    dropped = [found for found in there if artifacts.is_artifact(found)]
    spared = len(there) - len(dropped)
    if not dropped and not kept.exists():
        raise UsageError("no stage wrote this: it is no artefact", found=path, do="delete it yourself if that is meant")
    for found in dropped:
        found.unlink()
    if kept.is_dir():
        shutil.rmtree(kept)
    else:
        kept.unlink(missing_ok=True)
    if path.is_dir():
        _remove_empty(path)
    log.info("forgotten: %s%s", path, f"; {spared} files that no stage wrote are left" if spared else "")


def _remove_empty(folder: Path) -> None:
    below = sorted((found for found in folder.rglob("*") if found.is_dir()), key=lambda found: -len(found.parts))
    for found in [*below, folder]:
        if not any(found.iterdir()):
            found.rmdir()


def _holds_results(kept: Path) -> bool:
    return any(folder.name == artifacts.KEPT and folder.is_dir() for folder in kept.parents)
