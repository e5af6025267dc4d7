"""Coverage of the intervals of calibration: simulated people whose eyes correlate, over people, prevalence and value.

Log odds said are normal, and correlate within a person as outcomes do; true log odds are a line of them. Prints a
table: how often a 95 % interval holds the true value, in brackets the share of test sets with an interval, and the
mean of the ECE plain and without what chance adds, beside the true one.

    python -m bench.calibration --repeats 1000
"""

import argparse
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtr

from bench.coverage import normal
from visionfm.metrics.calibration import calibration
from visionfm.metrics.subjects import Subjects

SHOWN = ("calibration_slope", "calibration_intercept", "calibration_in_the_large", "ece")
POPULATION = 2_000_000


class World(NamedTuple):
    """People and images each; log odds said are normal (mean, spread); the true ones are intercept + slope x these."""

    people: int
    images: int
    mean: float
    spread: float
    intercept: float = 0.0
    slope: float = 1.0

    def draw(self, rng: np.random.Generator, people: int, images: int) -> tuple[np.ndarray, np.ndarray]:
        """Return outcomes and probabilities said."""
        said_N = self.mean + self.spread * normal(rng, people, images)
        true_N = expit(self.intercept + self.slope * said_N)
        return (ndtr(normal(rng, people, images)) < true_N).astype(float), expit(said_N)

    def ece(self, bins: int) -> float:
        """Return the true ECE with so many bins."""
        said_N = np.sort(self.mean + self.spread * np.random.default_rng(0).normal(size=POPULATION))
        gap_N = expit(self.intercept + self.slope * said_N) - expit(said_N)
        return float(np.mean([abs(part.mean()) for part in np.array_split(gap_N, bins)]))


GRID = [
    World(*shape, mean, spread, *line)
    for shape in ((30, 2), (50, 1), (100, 2), (300, 1), (200, 2))
    for mean, spread in ((0.0, 1.0), (-2.0, 1.5), (0.0, 3.0))
    for line in ((0.0, 1.0), (0.3, 0.6), (-0.5, 1.4))
] + [World(1000, 2, -2.0, 1.5), World(1000, 2, -2.0, 1.5, 0.3, 0.6)]


def covered(world: World, repeats: int) -> dict[str, str]:
    """Return what is shown of each metric."""
    rng = np.random.default_rng(0)
    subjects = Subjects.of(np.repeat(np.arange(world.people), world.images))
    everybody = world.draw(np.random.default_rng(1), POPULATION, 1)
    bins = int(np.clip(world.people * world.images // 10, 1, 10))
    true = {
        "calibration_slope": world.slope,
        "calibration_intercept": calibration(*everybody, np.arange(POPULATION))["calibration_intercept"].value,
        "calibration_in_the_large": float((everybody[0] - everybody[1]).mean()),
        "ece": world.ece(bins),
    }
    found = [calibration(*world.draw(rng, world.people, world.images), subjects) for _ in range(repeats)]
    shown = {}
    for metric in SHOWN:
        given = [one[metric] for one in found if one[metric].low is not None]
        held = np.mean([one.low <= true[metric] <= one.high for one in given]) if given else np.nan
        few = f" ({len(given) / repeats:.0%})" if len(given) < 0.995 * repeats else ""
        shown[metric] = f"{held:.3f}{few}"
    plain, chance, corrected = (
        np.mean([one[name].value for one in found]) for name in ("ece_plain", "ece_by_chance", "ece")
    )
    return shown | {
        "true ECE": f"{true['ece']:.3f}",
        "plain": f"{plain:.3f}",
        "by chance": f"{chance:.3f}",
        "corrected": f"{corrected:.3f}",
    }


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=1000, help="test sets of each world")
    repeats = arguments.parse_args().repeats
    for at, world in enumerate(GRID):
        found = covered(world, repeats)
        if at == 0:
            head = ["people, images", "log odds: mean, spread", "true line", *found]
            print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
        line = f"{world.intercept:g} + {world.slope:g} x"
        print(
            f"| {world.people}, {world.images} | {world.mean:g}, {world.spread:g} | {line} | "
            + " | ".join(found.values())
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
