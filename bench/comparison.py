"""Type I error and power of comparisons of two models on the same people, whose eyes correlate at 0.7.

Prints, for each metric, in which share of simulated test sets p is below 0.05: of two models that are equal by design
(wanted: 0.04 to 0.06) and of one that is better, as stage `compare` tells them apart: AUROC by DeLong's test for
clustered data, others by `paired`; beside it the bootstrap over subjects. One process, some minutes.

    python -m bench.comparison --repeats 2000
"""

import argparse
import sys
import time

import numpy as np
from scipy.special import expit, ndtri

from visionfm.metrics import comparison
from visionfm.metrics.binary import Binary
from visionfm.metrics.intervals import interval
from visionfm.metrics.jackknife import left_out
from visionfm.metrics.subjects import Subjects

DRAWS = 400
ALIKE = 0.7  # correlation between the eyes of one person; half of the variance of both models' errors is shared
METRICS = ("average_precision", "f1", "sensitivity", "specificity", "balanced_accuracy", "brier")
CELLS = (  # people, eyes, prevalence, AUROC of the first and second model
    (60, 1, 0.3, 0.80, 0.80), (30, 2, 0.5, 0.80, 0.80), (50, 2, 0.3, 0.80, 0.80), (100, 2, 0.3, 0.80, 0.80),
    (200, 2, 0.1, 0.80, 0.80), (200, 2, 0.3, 0.90, 0.90), (100, 2, 0.3, 0.85, 0.75), (200, 2, 0.1, 0.85, 0.75),
    (200, 2, 0.3, 0.90, 0.85),
)  # fmt: skip


def normal(rng: np.random.Generator, people: int, eyes: int) -> np.ndarray:
    """Return standard normal numbers, person by person, which correlate within a person."""
    shared = rng.normal(size=(people, 1))
    return (np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * rng.normal(size=(people, eyes))).ravel()


def found(people: int, eyes: int, prevalence: float, aurocs: tuple[float, float], repeats: int) -> dict[str, float]:
    """Return the share of p values below 0.05 by metric and method, of those that there are."""
    rng = np.random.default_rng([people, eyes, round(1000 * prevalence), *(round(1000 * one) for one in aurocs)])
    place_N = np.repeat(np.arange(people), eyes)
    subjects = Subjects(place_N, people)
    left_JN = np.concatenate(list(left_out(subjects)))
    drawn_DN = np.random.default_rng(0).multinomial(people, np.full(people, 1 / people), DRAWS).astype(float)
    p: dict[str, list[float]] = {}
    for _ in range(repeats):
        truth_N = (normal(rng, people, eyes) > ndtri(1 - prevalence)).astype(float)
        shared_N = normal(rng, people, eyes)
        scores, values, intervals = [], [], []
        for auroc in aurocs:
            apart = np.sqrt(2) * ndtri(auroc)
            score_N = apart * truth_N + (shared_N + normal(rng, people, eyes)) / np.sqrt(2)
            scores.append(score_N)
            question = Binary(truth_N, expit(score_N - apart / 2), {None: score_N > apart / 2})
            values.append(question(drawn_DN[:, place_N]))
            evidence = question.evidence(question.left_out(left_JN), subjects)
            intervals.append({metric: interval(metric, evidence[metric, None], subjects) for metric in METRICS})
        results = {"auroc, DeLong": comparison.auroc(truth_N, *scores, subjects)}
        for metric in METRICS:
            first, second = (one[metric] for one in intervals)
            results[f"{metric}, paired"] = comparison.paired([first], [second], people)
            draws = [np.append(one[metric].value, of[metric, None]) for one, of in zip(intervals, values, strict=True)]
            results[f"{metric}, bootstrap"] = comparison.bootstrap(*draws, people)
        for name, result in results.items():
            if result.p is not None:
                p.setdefault(name, []).append(result.p)
    return {name: float(np.mean(np.array(all_p) < 0.05)) for name, all_p in p.items()}


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=2000, help="test sets of each column")
    repeats = arguments.parse_args().repeats
    started = time.process_time()
    print(
        "| people, eyes, prevalence, AUROCs | auroc | "
        + " | ".join(METRICS)
        + " |\n"
        + "|---" * (len(METRICS) + 2)
        + "|"
    )
    for people, eyes, prevalence, *aurocs in CELLS:
        shares = found(people, eyes, prevalence, (aurocs[0], aurocs[1]), repeats)
        both = [f"{shares[f'{name}, paired']:.3f}, {shares[f'{name}, bootstrap']:.3f}" for name in METRICS]
        name = f"{people}, {eyes}, {prevalence:g}, {aurocs[0]:.2f} and {aurocs[1]:.2f}"
        print("| " + " | ".join([name, f"{shares['auroc, DeLong']:.3f}", *both]) + " |", flush=True)
    print(f"{time.process_time() - started:.0f} s of CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
