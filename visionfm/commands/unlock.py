"""`visionfm unlock`: clears the lock that a killed run left behind, unless a run is still going on.

Snakemake locks a folder by files, which a SIGKILL, a closed machine or a lost node leaves there.
"""

import argparse
import logging
import os
from pathlib import Path

from visionfm.errors import UsageError

LOCKS = Path(".snakemake/locks")
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", nargs="?", type=Path, default=Path(), help="the folder of the run, which holds results/")


def main(args: argparse.Namespace) -> None:
    """Remove the lock."""
    locks = _locks(args.run)
    if not locks:
        log.info("unlock: nothing is locked here")
        return
    if running := processes(args.run):
        raise UsageError(
            "a run is going on",
            found=f"Snakemake, process {', '.join(map(str, running))}",
            where=args.run.resolve(),
            do="wait until it has ended, or end it by `kill` and its number",
        )
    for lock in locks:
        lock.unlink(missing_ok=True)
    log.info("unlock: cleared; run again, and what the killed run had finished is not computed again")


def tell(run: Path) -> None:
    """Say what to do where a run starts in a locked folder: Snakemake itself only says that it cannot go on."""
    if not _locks(run):
        return
    others = processes(run)
    if others:
        log.warning("this folder is locked: a run goes on in it (process %s)", ", ".join(map(str, others)))
    else:
        log.warning(
            "this folder is locked, but no run goes on in it on this machine: where none does on another one, "
            "`visionfm unlock` clears what a killed run left"
        )


def processes(run: Path) -> list[int]:
    """Return the other Snakemakes of this machine that work in a folder; none where the system has no /proc."""
    mine = _line_of(os.getpid())
    found = (int(place.name) for place in Path("/proc").glob("[0-9]*"))
    return sorted(pid for pid in found if pid not in mine and _is_snakemake_in(pid, run.resolve()))


def _line_of(pid: int) -> set[int]:
    """Return a process and all above it: a wrapper of this Snakemake is no other one."""
    line: set[int] = set()
    while pid > 1 and pid not in line:
        line.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return line


def _is_snakemake_in(pid: int, folder: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        is_snakemake = any(word.endswith(b"snakemake") for word in command[:3])
        return is_snakemake and Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:  # ended meanwhile, or another user's
        return False


def _locks(run: Path) -> list[Path]:
    return sorted((run / LOCKS).glob("*.lock"))
