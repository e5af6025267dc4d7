"""`visionfm example [NAME]`: list the configs that come with the package, or write one into the working directory."""

import argparse
import logging
from pathlib import Path

from visionfm.artifacts import publish
from visionfm.config.nearest import unknown
from visionfm.errors import UsageError
from visionfm.project import shipped

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", nargs="?", help="the example; without it, all are listed")


def main(args: argparse.Namespace) -> None:
    """List the examples, or write one."""
    examples = shipped.examples()
    if args.name is None:
        for name, path in examples.items():
            print(f"{name:<26}{_title(path)}")
        return
    if problem := unknown(args.name, list(examples), "example"):
        raise UsageError(problem, do="`visionfm example` lists them")
    target = Path(examples[args.name].name)
    if target.exists():
        raise UsageError("there is a file of this name here", where=target, do="move it away first")
    publish(target, examples[args.name].read_bytes())
    log.info("example: wrote %s; edit it, then `visionfm check %s` and `visionfm run %s`", target, target, target)


def _title(path: Path) -> str:
    """Return what the example's first comment says, up to the end of its first sentence."""
    first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return first.removesuffix(" To try it:").split(": ")[0]
