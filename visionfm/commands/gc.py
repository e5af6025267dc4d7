"""`visionfm gc CONFIG...`: frees what no config names: artefacts of other configs and their kept copies.

Without `--delete` it only says what it would free. Invariant: nothing goes but artefacts in their places and what
stages keep beside them; an encoder goes only when no config has a block for it, and a user's file never.
"""

import argparse
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts import tree
from visionfm.artifacts.inventory import Stored, stored
from visionfm.commands import unlock
from visionfm.errors import UsageError
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan
from visionfm.tasks.vectors.spec import caches_of

SHOWN = 20
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("config", nargs="+", type=Path, help="every config whose results here are still wanted")
    parser.add_argument("--delete", action="store_true", help="free it; without this, only say what would be freed")


def main(args: argparse.Namespace) -> None:
    """Say what no config names, or free it."""
    results = Path(artifacts.RESULTS)
    if not results.is_dir():
        raise UsageError("there are no results", where=results.absolute(), do="go to the folder of a run")
    if args.delete and (running := unlock.processes(Path())):
        raise UsageError("a run is going on", found=f"process {running[0]}", do="wait until it has ended")
    found = list(unnamed(results, [Plan(load_config(path)) for path in args.config]))
    if args.delete:
        for one in found:
            for path in one.files:
                path.unlink()
        _remove_empty(results, found)
    size = sum(one.size for one in found)
    done = "freed" if args.delete else "would be freed by --delete"
    for folder, of in _by_folder(found)[:SHOWN]:
        log.info("%s: %d files, %.1f MB", folder, len(of), sum(one.size for one in of) / 1e6)
    log.info("gc: %d files in %d folders, %.1f MB %s", len(found), len(_by_folder(found)), size / 1e6, done)


def unnamed(results: Path, plans: Iterable[Plan]) -> Iterable[Stored]:
    """Return what lies in the place of an artefact, or beside it, that no plan names."""
    named: set[str] = set()
    encoders: set[str] = set()
    for plan in plans:
        for path in (*map(Path, plan.everything()), *_given(plan)):
            named |= _inside(results, path)
        encoders |= set(plan.config.encoders)
    for one in stored(results):
        artefact = tree.artefact_of(one.inside)
        of_encoder = re.match(r"encoders/([^/]+)/", artefact)
        if artefact in named or not tree.is_place(artefact) or (of_encoder and of_encoder[1] in encoders):
            continue
        if one.file is None or artifacts.is_artifact(one.file):
            yield one


def _given(plan: Plan) -> list[Path]:
    """Return the files that a config names as given: weights, decoders, and the caches that these answer by."""
    weights = [plan.weights_file(encoder) for encoder in plan.config.encoders]
    decoders = [Path(given) for task in plan.config.tasks.values() if (given := task.given_decoder()) is not None]
    caches = [cache for decoder in decoders if decoder.is_file() for cache in caches_of(decoder)]
    return [*(Path(path) for path in weights if path is not None), *decoders, *caches]


def _inside(results: Path, path: Path) -> set[str]:
    """Return a path below results/, as it is written and with links followed; nothing where it lies elsewhere."""
    written = path.absolute()
    places = ((written, results.absolute()), (written.parent.resolve() / written.name, results.resolve()))
    return {place.relative_to(root).as_posix() for place, root in places if place.is_relative_to(root)}


def _by_folder(found: Iterable[Stored]) -> list[tuple[str, list[Stored]]]:
    """Return folders below results/ and what is in them, the largest first."""
    folders: dict[str, list[Stored]] = defaultdict(list)
    for one in found:
        folders[Path(one.inside).parent.as_posix()].append(one)
    return sorted(folders.items(), key=lambda item: -sum(one.size for one in item[1]))


def _remove_empty(results: Path, found: Iterable[Stored]) -> None:
    """Remove the folders that are empty now, and those above them."""
    for path in (path for one in found for path in one.files):
        for folder in path.parents:
            if folder == results or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
