"""`visionfm run CONFIG`: Snakemake on a config, from any folder; results are written below the working directory.

Everything after the config goes to Snakemake as it is. Without a profile or a number of cores it takes all cores of
this machine. Becomes the Snakemake process, so that signals and the exit code are Snakemake's own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from visionfm.errors import UsageError
from visionfm.project import shipped
from visionfm.project.loading import load_config

HOW_MANY = ("-c", "--cores", "-j", "--jobs", "--profile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = "visionfm run CONFIG [CONFIG ...] [--cores N] [--profile slurm] [-n] [SNAKEMAKE OPTIONS]"
    parser.add_argument("config", type=Path, help="YAML file; several are merged from left to right")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="more YAML files, then options of Snakemake")


def main(args: argparse.Namespace) -> NoReturn:
    """Become Snakemake."""
    command = [sys.executable, "-m", "snakemake", *snakemake_arguments([str(args.config), *args.options])]
    # The jobs call `visionfm`: this one, also where its environment was not activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    sys.stdout.flush()
    os.execve(sys.executable, command, os.environ | {"PATH": path})


def snakemake_arguments(words: Sequence[str]) -> list[str]:
    """Return Snakemake's arguments for configs and options as they were given.

    A config that is missing or wrong is refused here: Snakemake would put lines of code around it.
    """
    first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    configs, options = words[:first], list(words[first:])
    for config in configs:
        if not Path(config).is_file():
            raise UsageError("the config is missing", where=config, do="`visionfm example` lists configs to begin with")
    load_config(*configs)
    elsewhere = any(option.split("=")[0] in ("-d", "--directory") for option in options)
    if not elsewhere and not os.access(".", os.W_OK):
        raise UsageError(
            "results cannot be written here",
            expected="a folder that you may write to: the run's own, below which `results/` lies",
            where=Path.cwd(),
            do="change to another folder; a dataset's `root` may be an absolute path",
        )
    given = [option.split("=")[0] for option in options]
    if not any(option in HOW_MANY or option[:2] in ("-c", "-j") for option in given):
        options += ["--cores", "all"]
    return ["--configfile", *configs, "--snakefile", str(shipped.snakefile()), *map(_profile, ["", *options], options)]


def _profile(before: str, option: str) -> str:
    """Return the folder of a shipped profile in place of its name, unless there is such a folder here."""
    name = option.removeprefix("--profile=")
    known = before == "--profile" or name != option
    if not known or Path(name).is_dir() or name not in shipped.profiles():
        return option
    return option.replace(name, str(shipped.profiles()[name]))
