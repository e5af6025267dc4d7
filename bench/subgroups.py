"""Type I error and power of differences between groups and of the test of interaction, people with two eyes.

Prints, for AUROC, in which share of simulated test sets p is below 0.05: of groups that are equal by design (wanted:
0.04 to 0.06) and of one that is worse, as stage `contrast` tells them apart. One process, some minutes.

    python -m bench.subgroups --repeats 3000
"""

import argparse
import sys
import time

import numpy as np
from scipy.special import ndtri

from visionfm.metrics import comparison
from visionfm.metrics.evidence import Interval, Ranking
from visionfm.metrics.intervals import interval
from visionfm.metrics.scales import SHARE

ALIKE = 0.7  # correlation between the eyes of one person
CELLS = (  # people, AUROC and prevalence of each group
    ((100, 100), (0.80, 0.80), (0.3, 0.3)), ((40, 160), (0.80, 0.80), (0.3, 0.3)),
    ((60, 120), (0.80, 0.80), (0.15, 0.4)), ((60, 60), (0.96, 0.96), (0.3, 0.3)),
    ((500, 500), (0.80, 0.80), (0.3, 0.3)), ((100, 100, 100), (0.80,) * 3, (0.3,) * 3),
    ((30, 60, 200, 50), (0.80,) * 4, (0.3,) * 4), ((100, 100), (0.90, 0.74), (0.3, 0.3)),
    ((100, 100, 100), (0.90, 0.74, 0.90), (0.3,) * 3),
)  # fmt: skip


def normal(rng: np.random.Generator, people: int) -> np.ndarray:
    """Return standard normal numbers of two eyes, person by person, which correlate within a person."""
    shared, own = rng.normal(size=(people, 1)), rng.normal(size=(people, 2))
    return (np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * own).ravel()


def group(rng: np.random.Generator, people: int, auroc: float, prevalence: float) -> Interval:
    """Return the AUROC of a simulated group."""
    truth_N = (normal(rng, people) > ndtri(1 - prevalence)).astype(float)
    score_N = normal(rng, people) + np.sqrt(2) * ndtri(auroc) * truth_N
    return interval("auroc", Ranking(truth_N, score_N), np.repeat(np.arange(people).astype(str), 2))


def found(people: tuple[int, ...], aurocs: tuple[float, ...], shares: tuple[float, ...], repeats: int) -> list[str]:
    """Return the shares of p values below 0.05: first group against the second, interaction; and how many had none."""
    rng = np.random.default_rng([*people, *(round(1000 * one) for one in (*aurocs, *shares))])
    starts = np.cumsum((0, *people))
    differences, interactions, without = [], [], 0
    for _ in range(repeats):
        groups = [group(rng, *one) for one in zip(people, aurocs, shares, strict=True)]
        influence_GS = np.zeros((len(groups), starts[-1]))
        for at, one in enumerate(groups):
            if len(one.influence_S):
                influence_GS[at, starts[at] : starts[at + 1]] = one.influence_S
        p = comparison.unpaired(groups[0], groups[1]).p
        test = (
            comparison.interaction(groups, influence_GS, SHARE) if all(one.low is not None for one in groups) else None
        )
        differences += [] if p is None else [p]
        interactions += [] if test is None or test.p is None else [test.p]
        without += p is None or test is None or test.p is None
    return [f"{np.mean(np.array(p) < 0.05):.3f}" for p in (differences, interactions)] + [str(without)]


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=3000, help="test sets of each row")
    repeats = arguments.parse_args().repeats
    started = time.process_time()
    print("| people | AUROCs | prevalences | first against second | interaction | without a p |\n" + "|---" * 6 + "|")
    for people, aurocs, shares in CELLS:
        cells = [", ".join(f"{one:g}" for one in part) for part in (people, aurocs, shares)]
        print("| " + " | ".join([*cells, *found(people, aurocs, shares, repeats)]) + " |", flush=True)
    print(f"{time.process_time() - started:.0f} s of CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
