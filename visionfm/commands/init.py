"""`visionfm init FOLDER`: says what a folder of images seems to be, and writes a config for it that `check` passes.

What is guessed is said to be a guess. A target is never chosen silently: of several, the flags are listed. A config
that it wrote before a target was named is replaced, unless somebody has edited it.
"""

import argparse
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from visionfm.artifacts import publish
from visionfm.config.nearest import unknown
from visionfm.errors import UsageError
from visionfm.modalities import canonical
from visionfm.project.data_check import check_data
from visionfm.project.init.folder import guess_modality, understand_folder
from visionfm.project.init.seen import Seen, Target, as_name
from visionfm.project.init.text import config_text
from visionfm.project.loading import load_config
from visionfm.project.plan import Plan

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=Path, help="the images, with their tables or masks")
    parser.add_argument("--table", type=Path, help="the table of labels, where it cannot be told, or lies elsewhere")
    parser.add_argument("--mask", help="which masks are meant, where each image has several")
    parser.add_argument("--target", help="what is predicted; several columns of 0 and 1, as in a,b,c, are one question")
    parser.add_argument("--modality", help="Fundus, OCT, FFA, ...; guessed where it is not given")
    parser.add_argument("--out", type=Path, help="the config to write; default: FOLDER's name, here")


def main(args: argparse.Namespace) -> None:
    """Understand, say so, write, check."""
    root, name = args.folder, as_name(args.folder.resolve().name)
    out = args.out or Path(f"{name}.yaml")
    table = out.with_suffix(".files.csv")
    datasets = understand_folder(root, args.table, args.mask)
    given = (canonical(args.modality), "") if args.modality else None
    for seen in datasets:
        seen.modality = seen.modality or given or guess_modality(root, seen)
    _name(datasets, name)
    candidates = list({target.name: target for seen in datasets for target in seen.targets}.values())
    chosen = _chosen(candidates, args.target)
    asked = "" if chosen or not candidates else _flags(candidates)
    files = {}
    if datasets[0].table is not None:
        files[table] = [datasets[0].table]
        datasets[0].keys["table"] = Path(os.path.relpath(table, root)).as_posix()
    title, place = args.folder.resolve().name, _root(root)
    text = config_text(title, place, datasets, chosen, asked)
    files[out] = [text, config_text(title, place, datasets, [], _flags(candidates))]
    _check_free(files)
    for path, (wanted, *_) in files.items():
        publish(path, wanted.encode())
    _say(datasets, candidates, chosen, asked)
    check_data(Plan(load_config(out)))
    log.info("wrote %s, which has no errors; look at it, then: visionfm check %s", out, out)


def _check_free(files: Mapping[Path, list[str]]) -> None:
    """Raise UsageError for a file that is there, unless it is what this command wrote before a target was named."""
    for path, ours in files.items():
        if path.exists() and path.read_bytes() not in [text.encode() for text in ours]:
            raise UsageError("there is a file of this name here", where=path, do="move it away, or name another --out")


def _root(root: Path) -> str:
    here = Path.cwd()
    return root.resolve().relative_to(here).as_posix() if root.resolve().is_relative_to(here) else str(root.resolve())


def _name(datasets: list[Seen], name: str) -> None:
    for seen in datasets:
        if len(datasets) == 1:  # a table of that name alone divides nothing
            seen.name, seen.split = name, None
        elif "cohort" not in seen.keys:
            seen.name = f"{name}_{seen.split}"
        elif len({one.modality for one in datasets}) == len(datasets) and seen.modality is not None:
            seen.name = f"{name}_{seen.modality[0].lower()}"


def _chosen(candidates: list[Target], asked: str | None) -> list[Target]:
    """Return the targets that were asked for, or the only one that there is; none where several could be meant."""
    if asked is None:
        return candidates if len(candidates) == 1 else []
    by_name = {target.name: target for target in candidates}
    named = [as_name(one) for one in asked.split(",")]
    for one in named:
        if problem := unknown(one, by_name, "column of labels"):
            raise UsageError(problem, do="`visionfm init FOLDER` lists what could be predicted")
    found = [by_name[one] for one in named]
    if len(found) > 1 and any(target.type != "binary" for target in found):
        raise UsageError("several columns are one question only where all hold 0 and 1", do="name one --target")
    return found


def _flags(candidates: list[Target]) -> str:
    flags = " or ".join(f"--target {target.name}" for target in candidates[:12])
    signs = [target.name for target in candidates if target.type == "binary"]
    together = f"; those of 0 and 1 together: --target {','.join(signs)}" if len(signs) > 2 else ""
    return f"Several could be predicted, so nothing was chosen: {flags}{together}"


def _say(datasets: list[Seen], candidates: list[Target], chosen: list[Target], asked: str) -> None:
    said = ("", "")
    for seen in datasets:
        if seen.modality is not None and seen.modality != said:
            name, why = said = seen.modality
            print(f"modality: {name}{f', a guess: {why} (--modality says it)' if why else ''}")
        print(f"dataset {seen.name}, layout {seen.keys['layout']}")
        lines = [*seen.facts, *(f"a guess: {line}" for line in seen.guesses)]
        for line in [*lines, *(f"not known: {line}" for line in seen.unknown)]:
            print(f"  {line}")
        for target in seen.targets:
            cases = ", ".join(f"{value}: {times}" for value, times in sorted(target.cases.items())[:12])
            print(f"  {target.name} ({target.type}){': ' + cases if cases else ''}")
    if chosen and len(candidates) == 1:
        print(f"target: {chosen[0].name}, the only one that there is")
    elif asked:
        print(asked)
