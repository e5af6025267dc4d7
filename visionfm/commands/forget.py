"""`visionfm forget PATH...`: drops artefacts together with their kept copies; the next run computes them again."""

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
        kept = artifacts.kept_path(path)
        # The folder results/ must be named, and hold kept copies: a run may itself lie below a folder of that name.
        parts = Path(os.path.normpath(path)).parts
        if kept is None or artifacts.RESULTS not in parts or not _holds_results(kept):
            raise UsageError("only artefacts below results/ can be forgotten", found=path, do="name one below results/")
        if parts[-1] == artifacts.RESULTS or artifacts.KEPT in parts:
            raise UsageError(
                "this would forget all results", found=path, do="delete the folder results/ itself if that is meant"
            )
        there = [place for place in (path, kept) if place.exists()]
        if not there:
            raise UsageError("there is nothing to forget", where=path, do="name an artefact or a folder below results/")
        for place in there:
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        log.info("forgotten: %s", path)


def _holds_results(kept: Path) -> bool:
    return any(folder.name == artifacts.KEPT and folder.is_dir() for folder in kept.parents)
