"""`visionfm du [RUN]`: what of a run takes the disk, the largest first.

A file and its kept copy count once; what only a kept copy holds is told, for the results no longer show it.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from visionfm import artifacts
from visionfm.artifacts.inventory import Stored, stored
from visionfm.errors import UsageError

COLUMNS = ("what", "files", "MB", "of it only kept")
DEEPER = ("encoders", "features", "packs", "tasks", "datasets")  # told by the folders in them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", nargs="?", type=Path, default=Path(), help="the folder of the run, which holds results/")


def main(args: argparse.Namespace) -> None:
    """Print a row per folder."""
    results = args.run / artifacts.RESULTS
    if not results.is_dir():
        raise UsageError("there are no results", where=results, do="name the folder of a run")
    groups: dict[str, list[Stored]] = defaultdict(list)
    for one in stored(results):
        groups[_group(one.inside)].append(one)
    rows = [(name, len(of), _size(of), _size(one for one in of if one.file is None)) for name, of in groups.items()]
    rows.sort(key=lambda row: (-row[2], row[0]))
    total = ("in all", sum(row[1] for row in rows), sum(row[2] for row in rows), sum(row[3] for row in rows))
    cells = [(name, str(files), _mb(size), _mb(kept)) for name, files, size, kept in [*rows, total]]
    widths = [max(len(row[column]) for row in [COLUMNS, *cells]) for column in range(len(COLUMNS))]
    for name, *rest in [COLUMNS, *cells]:
        print(
            name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)), sep="  "
        )


def _group(inside: str) -> str:
    """Return which row a path belongs to: features/retina, report, ..."""
    first, *rest = inside.split("/")
    return f"{first}/{rest[0]}" if first in DEEPER and len(rest) > 1 else first


def _size(of: Iterable[Stored]) -> int:
    return sum(one.size for one in of)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"
