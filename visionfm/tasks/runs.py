"""Runs: what a task's decoders are called and what their names say.

`seed0` is a decoder trained on all training data with seed 0; `seed0-frac0p1` and `seed0-shots5` saw a part of them;
`given` is a decoder that the config names; `knn` and `logreg` are the baselines on the same features. A mean over seeds
is called `mean`, `mean-frac0p1`, ...
"""

import re
from typing import NamedTuple

from visionfm.tasks.block import TaskBlock
from visionfm.tasks.classification import BASELINES

OBSERVER = "observer2"  # a second observer's masks, measured as a run of its own
GIVEN = "given"  # the run of a task whose decoder the config names
MEAN = "mean"  # over the seeds


class Run(NamedTuple):
    """What a run's name says; None where it does not."""

    baseline: str | None = None
    seed: int | None = None
    fold: int | None = None
    train_fraction: float | None = None
    shots: int | None = None

    @property
    def on_all(self) -> bool:
        """Whether it saw all training data."""
        return self.train_fraction is None and self.shots is None


def read_run(name: str) -> Run:
    """Return what a run's name says."""

    def number(part: str) -> str | None:
        found = re.search(rf"(?:^|-){part}(\d+(?:p\d+)?)(?=-|$)", name)
        return found[1].replace("p", ".") if found else None

    whole = {part: number(part) for part in ("seed", "fold", "shots")}
    fraction = number("frac")
    return Run(
        baseline=name if name in BASELINES else None,
        train_fraction=None if fraction is None else float(fraction),
        **{part: None if text is None else int(text) for part, text in whole.items()},
    )


def seed_runs(task: TaskBlock) -> list[str]:
    """Return the runs of a task's own decoder on all training data, one per seed; or the one that was given."""
    if task.given_decoder() is not None:
        return [GIVEN]
    return [f"seed{seed}" for seed in task.seeds]


def part_runs(task: TaskBlock) -> list[str]:
    """Return the runs on a part of the training data; a fraction of 1 is the run of the seed itself."""
    fractions, shots = task.parts_of_data()
    names = [f"frac{fraction:g}".replace(".", "p") for fraction in fractions if fraction != 1]
    parts = [*names, *(f"shots{count}" for count in shots)]
    return [f"{run}-{part}" for run in seed_runs(task) for part in parts]


def all_runs(task: TaskBlock) -> list[str]:
    """Return all runs of a task, those that the report shows first in front."""
    return [*seed_runs(task), *task.baseline_names(), *part_runs(task)]
