"""`visionfm cost`: what the jobs of a run took, as a page and as a table."""

import argparse
from pathlib import Path

from visionfm import artifacts
from visionfm.errors import DataError
from visionfm.report import cost as report_cost

COLUMNS = ("rule", "jobs", "hours", "CPU-h asked", "CPU-h used", "GPU-h asked", "MB used", "MB asked", "images/s")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", nargs="?", type=Path, default=Path(), help="the folder of the run, which holds results/")


def main(args: argparse.Namespace) -> None:
    """Write the page and print the table."""
    results = args.run / artifacts.RESULTS
    page = report_cost.write(results, args.run)
    if page is None:
        raise DataError(
            "no job has run here", expected="*.tsv", where=results / "benchmarks", do="run the workflow first"
        )
    rows = [COLUMNS, *((cost.rule, *cost.cells) for cost in report_cost.by_rule(report_cost.read_jobs(results)))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        first, *rest = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        print(first.strip().ljust(widths[0]), *rest, sep="  ")
    print(f"\n{page}")
