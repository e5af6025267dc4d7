"""`visionfm profile NAME`: write a profile into the working directory, to be edited for a site."""

import argparse
import logging
import shutil
from pathlib import Path

from visionfm.errors import UsageError
from visionfm.project import shipped

log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", choices=shipped.profiles(), help="slurm: a cluster; workstation: several GPUs")


def main(args: argparse.Namespace) -> None:
    """Copy the profile; one that is there already stays as it is."""
    folder = Path(args.name)
    if folder.exists():
        raise UsageError("the profile is here already", where=folder, do="edit it, or move it away first")
    shutil.copytree(shipped.profiles()[args.name], folder)
    log.info("profile: wrote %s/config.yaml; edit its first lines, then `visionfm run CONFIG --profile %s`",
             folder, folder)  # fmt: skip
