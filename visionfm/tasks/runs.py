"""Runs: what a task's decoders are called and what their names say.

`seed0` is a decoder trained on all training data with seed 0; `seed0-frac0p1` and `seed0-shots5` saw a part of them;
`given` is a decoder that the config names; `knn` and `logreg` are the baselines on the same features. A mean over seeds
is called `mean`, `mean-frac0p1`, ...

With folds `seed0-fold2` is a decoder that never saw the people of fold 2, and `seed0` what all folds' decoders answered
together, each of the people whom it never saw; of a second division into folds `seed0-repeat1-fold2` and
`seed0-repeat1`. `foldmean` (`foldmean-knn`, ...) is the mean of the folds' own values, `mean` (`mean-knn`, ...) that
over seeds and repeats.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from visionfm.tasks.block import TaskBlock
from visionfm.tasks.classification import BASELINES

OBSERVER = "observer2"  # a second observer's masks, measured as a run of its own
GIVEN = "given"  # the run of a task whose decoder the config names
MEAN = "mean"  # over the seeds, and over repeated divisions into folds
FOLD_MEAN = "foldmean"  # over the folds


class Run(NamedTuple):
    """What a run's name says; None where it does not."""

    baseline: str | None = None
    seed: int | None = None
    repeat: int | None = None
    fold: int | None = None
    train_fraction: float | None = None
    shots: int | None = None

    @property
    def on_all(self) -> bool:
        """Whether it saw all training data."""
        return self.train_fraction is None and self.shots is None


class Fold(NamedTuple):
    """One part of the people, tested by a decoder that never saw them."""

    number: int
    repeat: int = 0

    @property
    def name(self) -> str:
        """Return its name, with which those of its runs end and which its folder of samples has."""
        return (f"repeat{self.repeat}-" if self.repeat else "") + f"fold{self.number}"


def read_run(name: str) -> Run:
    """Return what a run's name says."""

    def number(part: str) -> str | None:
        found = re.search(rf"(?:^|-){part}(\d+(?:p\d+)?)(?=-|$)", name)
        return found[1].replace("p", ".") if found else None

    whole = {part: number(part) for part in ("seed", "repeat", "fold", "shots")}
    fraction = number("frac")
    return Run(
        baseline=next((part for part in name.split("-") if part in BASELINES), None),
        train_fraction=None if fraction is None else float(fraction),
        **{part: None if text is None else int(text) for part, text in whole.items()},
    )


def folds(task: TaskBlock) -> list[Fold]:
    """Return the folds of a task, those of all repeats; none where the datasets' own splits are used."""
    split = task.split
    return [] if split is None else [Fold(n, repeat) for repeat in range(split.repeats) for n in range(split.folds)]


def fold_of(run: str) -> Fold | None:
    """Return the fold whose people a run tests; None of a run on the datasets' own splits."""
    about = read_run(run)
    return None if about.fold is None else Fold(about.fold, about.repeat or 0)


def pooled_run(run: str) -> str:
    """Return what the answers of a fold's run and of the other folds' are called together; else the run itself."""
    return re.sub(r"-fold\d+$", "", run)


def family(run: str) -> str:
    """Return what a run has in common with those of other seeds, repeats and folds: `frac0p1`, `knn`, or nothing."""
    return "-".join(part for part in run.split("-") if not re.fullmatch(r"(seed|repeat|fold)\d+", part))


def mean_run(run: str, of: str = MEAN) -> str:
    """Return the name of the mean over a run's family."""
    return "-".join(filter(None, [of, family(run)]))


def _in_folds(task: TaskBlock, runs: Sequence[str]) -> list[str]:
    """Return the decoders that stand behind runs: themselves, or those of each fold."""
    return [f"{run}-{fold.name}" for run in runs for fold in folds(task)] if folds(task) else list(runs)


def _repeated(task: TaskBlock, runs: Sequence[str]) -> list[str]:
    """Return the runs, and those of further divisions into folds."""
    repeats = 1 if task.split is None else task.split.repeats
    return [f"{run}-repeat{repeat}" if repeat else run for run in runs for repeat in range(repeats)]


def _seeds(task: TaskBlock) -> list[str]:
    return [GIVEN] if task.given_decoder() is not None else [f"seed{seed}" for seed in task.seeds]


def _parts(task: TaskBlock) -> list[str]:
    fractions, shots = task.parts_of_data()
    names = [f"frac{fraction:g}".replace(".", "p") for fraction in fractions if fraction != 1]
    parts = [*names, *(f"shots{count}" for count in shots)]
    return [f"{run}-{part}" for run in _seeds(task) for part in parts]


def seed_runs(task: TaskBlock) -> list[str]:
    """Return the runs of a task's own decoder on all training data, one per seed (and repeat); or the one given."""
    return _repeated(task, _seeds(task))


def baseline_runs(task: TaskBlock) -> list[str]:
    """Return the runs of the baselines."""
    return _repeated(task, list(task.baseline_names()))


def part_runs(task: TaskBlock) -> list[str]:
    """Return the runs on a part of the training data; a fraction of 1 is the run of the seed itself."""
    return _repeated(task, _parts(task))


def compared_runs(task: TaskBlock) -> list[str]:
    """Return the decoders on all training data: its own, and the baselines."""
    return _in_folds(task, [*_seeds(task), *task.baseline_names()])


def all_runs(task: TaskBlock) -> list[str]:
    """Return all decoders of a task by their runs, those that the report shows first in front."""
    return [*compared_runs(task), *_in_folds(task, _parts(task))]
