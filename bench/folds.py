"""Coverage of intervals of folds: decoders are trained anew in each simulated data set, without the fold they test.

People with two eyes each, eight features, a condition and a value that two of the features tell of; the decoder is
logistic (by discriminant analysis with shrinkage) or ridge regression. Prints how often the interval holds the true
value of these very decoders on other people, and that of decoders trained so on average; in brackets, in which share
of the data sets there is an interval. Then two decoders on the same people and folds, as `compare` tells them apart.
One process, some minutes.

    python -m bench.folds --repeats 500
    python -m bench.folds --repeats 500 --pairs
"""

import argparse
import sys
from collections import defaultdict

import numpy as np
from scipy.special import expit

from bench.coverage import normal
from visionfm.metrics import comparison
from visionfm.metrics.comparison import Difference
from visionfm.metrics.evidence import Evidence, Interval, Mean, OverFolds, Ranking, Share
from visionfm.metrics.intervals import interval, out_of_fold, wider_by
from visionfm.metrics.subjects import Subjects

FEATURES, EYES, POPULATION = 8, 2, 10_000
APART = 1.1  # of the classes, in two of the features: an AUROC of 0.86 for a decoder that knows them
NOBODY = Subjects(np.zeros(0, np.intp), 0)
METRICS = ("auroc", "sensitivity", "specificity", "brier", "mae")
CELLS = ((50, 0.5, 5), (100, 0.2, 5), (100, 0.5, 5), (300, 0.2, 5), (300, 0.2, 10))  # people, condition, folds
PAIRED = ((50, 0.5, 5), (100, 0.3, 5), (300, 0.2, 5))
OF_PAIRS = 2_000  # other people, on whom two decoders truly differ by so much
WORSE = 0.75  # what the weaker of two decoders sees of the classes' and values' differences


def drawn(rng: np.random.Generator, people: int, prevalence: float):
    """Return features_NF, who has the condition (N) and a value (N) of both eyes of so many people."""
    features_NF = np.stack([normal(rng, people, EYES) for _ in range(FEATURES)], axis=1)
    sick_N = np.repeat(rng.random(people) < prevalence, EYES)  # the same in both eyes, as systemic disease is
    features_NF[:, :2] += APART * sick_N[:, None]
    value_N = features_NF[:, 2:4].sum(axis=1) + normal(rng, people, EYES)
    return features_NF, sick_N, value_N


def trained(features_NF: np.ndarray, sick_N: np.ndarray, value_N: np.ndarray):
    """Return a function from features to the probability of the condition and the value."""
    centre_2F = np.stack([features_NF[sick_N == k].mean(axis=0) for k in (False, True)])
    within_NF = features_NF - centre_2F[sick_N.astype(int)]
    covariance_FF = within_NF.T @ within_NF / len(within_NF) + 0.1 * np.eye(FEATURES)
    weight_F = np.linalg.solve(covariance_FF, centre_2F[1] - centre_2F[0])
    offset = np.log(sick_N.mean() / (1 - sick_N.mean())) - weight_F @ centre_2F.mean(axis=0)
    design_NF = np.column_stack([np.ones(len(features_NF)), features_NF])
    of_value_F = np.linalg.solve(design_NF.T @ design_NF + np.eye(FEATURES + 1), design_NF.T @ value_N)

    def answers(of_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return expit(of_NF @ weight_F + offset), of_value_F[0] + of_NF @ of_value_F[1:]

    return answers


def evidence(sick_N: np.ndarray, value_N: np.ndarray, score_N: np.ndarray, said_N: np.ndarray) -> dict[str, Evidence]:
    called_N = score_N >= 0.5
    return {
        "auroc": Ranking(sick_N * 1.0, score_N),
        "sensitivity": Share(called_N, sick_N),
        "specificity": Share(~called_N, ~sick_N),
        "brier": Mean((score_N - sick_N) ** 2),
        "mae": Mean(abs(said_N - value_N)),
    }


def value(metric: str, of: Evidence) -> float:
    """Return a metric of many people."""
    if isinstance(of, Ranking):
        order = np.argsort(of.score_N, kind="stable")
        ranks = np.empty(len(order))
        ranks[order] = np.arange(1, len(order) + 1)
        cases = of.truth_N == 1
        count = int(cases.sum())
        return float((ranks[cases].sum() - count * (count + 1) / 2) / (count * (len(order) - count)))
    return float(of.hit_N[of.of_N].mean() if isinstance(of, Share) else of.value_N.mean())


def folds_of(rng: np.random.Generator, sick_N: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold (N) of each sample: by people, stratified by the condition."""
    people = len(sick_N) // EYES
    person_N = np.repeat(np.arange(people), EYES)
    order = [person for kind in (True, False) for person in rng.permutation(np.unique(person_N[sick_N == kind]))]
    fold_P = np.empty(people, int)
    fold_P[order] = np.arange(people) % folds
    return fold_P[person_N]


def one(rng: np.random.Generator, people: int, prevalence: float, folds: int, far):
    """Return (metric, way) -> interval, true value of one data set and its decoders; None where a fold has no case."""
    features_NF, sick_N, value_N = drawn(rng, people, prevalence)
    person_N, fold_N = np.repeat(np.arange(people), EYES), folds_of(rng, sick_N, folds)
    score_N, said_N = np.empty(len(person_N)), np.empty(len(person_N))
    there = []
    for fold in range(folds):
        test_N = fold_N == fold
        if sick_N[~test_N].sum() < 2 * EYES:
            return None
        answers = trained(features_NF[~test_N], sick_N[~test_N], value_N[~test_N])
        score_N[test_N], said_N[test_N] = answers(features_NF[test_N])
        there.append(answers(far[0]))
    found: dict[tuple[str, str], tuple[Interval, float]] = {}
    together = evidence(sick_N, value_N, score_N, said_N)
    everywhere = evidence(*(np.tile(one_N, folds) for one_N in far[1:]), *map(np.concatenate, zip(*there, strict=True)))
    alone = [evidence(*(of[fold_N == fold] for of in (sick_N, value_N, score_N, said_N))) for fold in range(folds)]
    outside = [evidence(*far[1:], *answers) for answers in there]
    for metric in METRICS:
        of_all = out_of_fold(interval(metric, together[metric], person_N), people, metric)
        found[metric, "together"] = of_all, value(metric, everywhere[metric])
        mean = float(np.mean([value(metric, of[metric]) for of in alone]))
        true = float(np.mean([value(metric, of[metric]) for of in outside]))
        found[metric, "mean of folds"] = interval(metric, OverFolds(mean, found[metric, "together"][0]), NOBODY), true
    return found


# --- two decoders on the same people ----------------------------------------------------------------------------------


def seen_by_two(rng: np.random.Generator, people: int, prevalence: float, share: float):
    """Return what each of two decoders sees (2, N, F), who has the condition (N) and a value (N).

    Half of what they see is the same; of what tells classes and values the second sees `share`, 1 for equal decoders.
    """
    sick_N = np.repeat(rng.random(people) < prevalence, EYES)
    shared_NF, *own_NF = (np.stack([normal(rng, people, EYES) for _ in range(FEATURES)], axis=1) for _ in range(3))
    value_N = shared_NF[:, 2:4].sum(axis=1) + normal(rng, people, EYES)
    seen_2NF = np.stack([shared_NF + one_NF for one_NF in own_NF]) / np.sqrt(2)
    for features_NF, part in zip(seen_2NF, (1.0, share), strict=True):
        features_NF[:, :2] += part * APART * sick_N[:, None]
        features_NF[:, 2:4] -= (1 - part) * shared_NF[:, 2:4] / np.sqrt(2)
    return seen_2NF, sick_N, value_N


def pair(rng: np.random.Generator, people: int, prevalence: float, folds: int, share: float, far):
    """Return metric -> difference, true difference of two decoders; None where a fold lacks a case."""
    seen_2NF, sick_N, value_N = seen_by_two(rng, people, prevalence, share)
    person_N, fold_N = np.repeat(np.arange(people), EYES), folds_of(rng, sick_N, folds)
    answers_2 = [(np.empty(len(sick_N)), np.empty(len(sick_N))) for _ in seen_2NF]
    there_2: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
    for fold in range(folds):
        test_N = fold_N == fold
        if sick_N[~test_N].sum() < 2 * EYES:
            return None
        for features_NF, far_NF, (score_N, said_N), there in zip(seen_2NF, far[0], answers_2, there_2, strict=True):
            answers = trained(features_NF[~test_N], sick_N[~test_N], value_N[~test_N])
            score_N[test_N], said_N[test_N] = answers(features_NF[test_N])
            there.append(answers(far_NF))
    together = [evidence(sick_N, value_N, *answers) for answers in answers_2]
    many = [np.tile(one_N, folds) for one_N in far[1:]]
    everywhere = [evidence(*many, *map(np.concatenate, zip(*there, strict=True))) for there in there_2]
    found: dict[str, tuple[Difference, float]] = {}
    for metric in METRICS:
        first, second = (of[metric] for of in together)
        if isinstance(first, Ranking) and isinstance(second, Ranking):
            scores = first.score_N, second.score_N
            compared = comparison.auroc(first.truth_N, *scores, person_N, wider_by(people))
        else:
            sides = [[out_of_fold(interval(metric, of, person_N), people, metric)] for of in (first, second)]
            compared = comparison.paired(*sides, people)
        found[metric] = compared, value(metric, everywhere[0][metric]) - value(metric, everywhere[1][metric])
    return found


def pairs(repeats: int) -> None:
    """Print, for equal and for unequal decoders, how often p < 0.05 and how often the interval misses the truth."""
    print("| people | with the condition | folds | metric | equal: p < 0.05 | equal: misses | unequal: p < 0.05 "
          "| unequal: misses |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for people, prevalence, folds in PAIRED:
        cells = defaultdict(list)
        for share in (1.0, WORSE):
            rng = np.random.default_rng([people, int(100 * prevalence), folds, int(100 * share)])
            far = seen_by_two(rng, OF_PAIRS, prevalence, share)
            found = defaultdict(list)
            for _ in range(repeats):
                for metric, of in (pair(rng, people, prevalence, folds, share, far) or {}).items():
                    found[metric].append(of)
            for metric in METRICS:
                given = [(of, true) for of, true in found[metric] if of.p is not None]
                flagged = np.mean([of.p < 0.05 for of, _ in given])
                missed = np.mean([not of.low <= true <= of.high for of, true in given])
                cells[metric] += [f"{flagged:.3f}", f"{missed:.3f}"]
            print(f"{people} {share} done", file=sys.stderr)
        for metric in METRICS:
            print(f"| {people} | {prevalence:g} | {folds} | {metric} | {' | '.join(cells[metric])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--pairs", action="store_true", help="two decoders, instead of one")
    arguments = parser.parse_args()
    if arguments.pairs:
        pairs(arguments.repeats)
    else:
        alone(arguments.repeats)


def alone(repeats: int) -> None:
    """Print how often the interval of one decoder holds the true value."""
    print("| people | with the condition | folds | metric | together | mean of folds |\n|---|---|---|---|---|---|")
    for people, prevalence, folds in CELLS:
        rng = np.random.default_rng([people, int(100 * prevalence), folds])
        far = drawn(rng, POPULATION, prevalence)
        found = defaultdict(list)
        for _ in range(repeats):
            for key, of in (one(rng, people, prevalence, folds, far) or {}).items():
                found[key].append(of)
        for metric in METRICS:
            cells = []
            for way in ("together", "mean of folds"):
                given = [(of, true) for of, true in found[metric, way] if of.low is not None]
                if len(given) < 0.05 * repeats:
                    cells.append("none")
                    continue
                on_average = np.mean([true for _, true in found[metric, way]])
                own = np.mean([of.low <= true <= of.high for of, true in given])
                usual = np.mean([of.low <= on_average <= of.high for of, _ in given])
                share = len(given) / repeats
                cells.append(f"{own:.3f}, {usual:.3f}" + (f" ({100 * share:.0f} %)" if share < 0.995 else ""))
            print(f"| {people} | {prevalence:g} | {folds} | {metric} | {cells[0]} | {cells[1]} |", flush=True)
            print(f"{people} {metric} done", file=sys.stderr)


if __name__ == "__main__":
    main()
