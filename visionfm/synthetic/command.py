"""`visionfm synth`: write a synthetic dataset from the command line."""

import argparse
import os
from pathlib import Path

from visionfm.synthetic.dataset import DEFAULT_NUMBER, DEFAULT_SIZE, TASKS, write_dataset
from visionfm.synthetic.scene import DIFFICULTIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `synth`."""
    parser.add_argument("--task", required=True, choices=TASKS, help="which published layout to write")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--number", type=int, default=DEFAULT_NUMBER, help="people per split, two eyes each; with --noise images"
    )
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help="side of the images in pixels")
    parser.add_argument("--modalities", nargs="+", default=[], metavar="NAME", help="some of the eight (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="easy", help="how clearly signs show")
    parser.add_argument("--noise", action="store_true", help="plain noise, as the published generator writes it")
    parser.add_argument("--workers", type=int, default=_cores(), help="processes; does not change what is written")


def main(args: argparse.Namespace) -> None:
    """Write the dataset."""
    write_dataset(
        args.task,
        args.out,
        number=args.number,
        size=args.size,
        modalities=args.modalities,
        seed=args.seed,
        difficulty=args.difficulty,
        noise=args.noise,
        workers=args.workers,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
