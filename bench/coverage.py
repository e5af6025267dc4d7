"""Coverage of 95 % intervals: simulated people with several eyes and images, over metric, people, prevalence and value.

Prints tables: how often an interval holds the true value by the percentile bootstrap over subjects that stood before,
and by `visionfm.metrics.intervals`; in brackets, in which share of the test sets there is one. Wanted: 0.93 to 0.97
with at least 20 people and five with and without the condition, never below 0.90. One process, some five minutes.

    python -m bench.coverage --repeats 2000 --old 400
"""

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtr, ndtri

from visionfm.metrics.binary import Binary
from visionfm.metrics.evidence import Interval, LeftOut, Mean, Members, Ranking, Ratio, Share
from visionfm.metrics.intervals import interval
from visionfm.metrics.jackknife import left_out
from visionfm.metrics.kaplan_meier import free_of_event
from visionfm.metrics.kaplan_meier_limits import limits
from visionfm.metrics.multiclass import Multiclass
from visionfm.metrics.regression import Regression

DRAWS = 500
POPULATION = 1_000_000
UNEQUAL = 6  # so many images at most: everybody has another number of them
ALIKE = 0.6  # correlation between the images of one person


class Sample(NamedTuple):
    """One simulated test set: metrics under weights, and the interval of each given its values without each subject."""

    values: Callable[[np.ndarray], dict[str, np.ndarray]]
    intervals: Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, Interval]]
    least: int  # people with (and without) the condition


class Cell(NamedTuple):
    """A world, how many people with how many images each, and what it is called."""

    world: Callable[..., Sample]
    people: int
    images: int
    setting: dict[str, float | str]


class Found(NamedTuple):
    """Coverage by the bootstrap and now, of those given, and in which share of the test sets there is an interval."""

    before: float
    now: float
    given: float

    def text(self) -> str:
        """Return both, and the share given where it is not all."""
        if self.given < 0.05:
            return ""
        few = f" ({100 * self.given:.0f} %)" if self.given < 0.995 else ""
        return f"{self.before:.2f}, {self.now:.3f}{few}".replace("nan", "-")


def normal(rng: np.random.Generator, people: int, images: int) -> np.ndarray:
    """Return standard normal numbers, person by person, which correlate within a person."""
    shared = rng.normal(size=(people, 1))
    return (np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * rng.normal(size=(people, images))).ravel()


def persons(subject_N: np.ndarray, mask_N: np.ndarray) -> int:
    return len(np.unique(subject_N[mask_N]))


def question(rng: np.random.Generator, subject_N: np.ndarray, shape: tuple[int, int], prevalence: float, auroc: float):
    """Return a yes-or-no question with binormal scores, called at a sensitivity of 0.8."""
    apart = np.sqrt(2) * ndtri(auroc)
    sick_N = normal(rng, *shape) > ndtri(1 - prevalence)
    score_N = apart * sick_N + normal(rng, *shape)
    called_N = score_N >= apart - ndtri(0.8)
    truth_N, probability_N = sick_N.astype(float), expit(score_N - apart + ndtri(0.8))
    scorer = Binary(truth_N, probability_N, {None: called_N})
    needs = {"with the condition": sick_N, "without the condition": ~sick_N}

    def values(weights_DN: np.ndarray) -> dict[str, np.ndarray]:
        found = {metric: values_D for (metric, _), values_D in scorer(weights_DN).items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            found["ppv"] = weights_DN @ (called_N & sick_N) / (weights_DN @ called_N)
            alarms, rejected = weights_DN @ (called_N & ~sick_N), weights_DN @ ~(called_N | sick_N)
            found["LR+"] = found["sensitivity"] * (alarms + rejected) / alarms
            found["LR-"] = (1 - found["sensitivity"]) * (alarms + rejected) / rejected
            found["npv"] = weights_DN @ ~(called_N | sick_N) / (weights_DN @ ~called_N)
        return found

    def intervals(subject_N: np.ndarray, left: dict[str, np.ndarray]) -> dict[str, Interval]:
        evidence = {
            "auroc": Ranking(truth_N, score_N),
            "average_precision": LeftOut(left["average_precision"], needs),
            "sensitivity": Share(called_N, sick_N),
            "specificity": Share(~called_N, ~sick_N),
            "ppv": Share(sick_N, called_N),
            "npv": Share(~sick_N, ~called_N),
            "f1": Share(called_N & sick_N, called_N | sick_N, needs),
            "brier": Mean((probability_N - truth_N) ** 2),
        }
        found = {metric: interval(metric, what, subject_N) for metric, what in evidence.items()}
        both = Members({name: found[name] for name in ("sensitivity", "specificity")})
        missed, alarms = Share(sick_N & ~called_N, sick_N), Share(called_N & ~sick_N, ~sick_N)
        ratios = {
            "LR+": Ratio(found["sensitivity"], interval("specificity", alarms, subject_N)),
            "LR-": Ratio(interval("sensitivity", missed, subject_N), found["specificity"]),
        }
        for name, metric in (("LR+", "likelihood_ratio_positive"), ("LR-", "likelihood_ratio_negative")):
            if ratios[name].below.value > 0:
                found[name] = interval(metric, ratios[name], subject_N)
        return found | {"balanced_accuracy": interval("balanced_accuracy", both, subject_N)}

    return Sample(values, intervals, min(persons(subject_N, sick_N), persons(subject_N, ~sick_N)))


def grades(rng: np.random.Generator, subject_N: np.ndarray, shape: tuple[int, int], noise: float):
    """Return three ordered grades (0.5, 0.3, 0.2) and a reader with noise; the scores of each are distances."""
    cuts = ndtri([0.5, 0.8])
    grade_z_N = normal(rng, *shape)
    seen_N = (grade_z_N + noise * normal(rng, *shape)) / np.sqrt(1 + noise**2)
    truth_N, called_N = np.digitize(grade_z_N, cuts), np.digitize(seen_N, cuts)
    score_NK = np.stack([-seen_N, -abs(seen_N - cuts.mean()), seen_N], axis=1)
    whole = Multiclass(truth_N.astype(float), called_N, ["0", "1", "2"], ordered=True)
    one = [Binary((truth_N == k).astype(float), score_NK[:, k], {None: called_N == k}) for k in range(3)]

    def values(weights_DN: np.ndarray) -> dict[str, np.ndarray]:
        found = {metric: values_D for (metric, _), values_D in whole(weights_DN).items()}
        return found | {"macro auroc": np.mean([scorer(weights_DN)["auroc", None] for scorer in one], axis=0)}

    def intervals(subject_N: np.ndarray, left: dict[str, np.ndarray]) -> dict[str, Interval]:
        sensitivity = {f"{k}": interval("sensitivity", Share(called_N == k, truth_N == k), subject_N) for k in range(3)}
        auroc = {f"{k}": interval("auroc", Ranking((truth_N == k) * 1.0, score_NK[:, k]), subject_N) for k in range(3)}
        evidence = {
            "accuracy": Share(called_N == truth_N, truth_N >= 0),
            "balanced_accuracy": Members(sensitivity),
            "quadratic_kappa": LeftOut(left["quadratic_kappa"], {}),
            "macro auroc": Members(auroc),
        }
        return {metric: interval(metric, what, subject_N) for metric, what in evidence.items()}

    return Sample(values, intervals, min(persons(subject_N, truth_N == k) for k in range(3)))


def measured(rng: np.random.Generator, subject_N: np.ndarray, shape: tuple[int, int], error: float):
    """Return a normal value and a shrunk prediction with normal error."""
    truth_N = normal(rng, *shape)
    value_N = 0.6 * truth_N + error * normal(rng, *shape)
    scorer = Regression(truth_N, value_N)

    def values(weights_DN: np.ndarray) -> dict[str, np.ndarray]:
        return {metric: values_D for (metric, _), values_D in scorer(weights_DN).items()}

    def intervals(subject_N: np.ndarray, left: dict[str, np.ndarray]) -> dict[str, Interval]:
        evidence = {
            "mae": Mean(abs(value_N - truth_N)),
            "rmse": Mean((value_N - truth_N) ** 2),
            "r2": LeftOut(left["r2"], {}),
            "pearson": LeftOut(left["pearson"], {}),
        }
        return {metric: interval(metric, what, subject_N) for metric, what in evidence.items()}

    return Sample(values, intervals, shape[0])


def mean(rng: np.random.Generator, subject_N: np.ndarray, shape: tuple[int, int], of: str):
    """Return values of images: Dice (skewed to the left), Dice of which some fail, radial errors (lognormal)."""
    normal_N = normal(rng, *shape)
    if of == "mre":
        value_N = np.exp(1 + 0.9 * normal_N)
    else:
        failed_N = (normal(rng, *shape) > ndtri(0.92)) if of == "dice, 8 % failures" else np.zeros(len(normal_N), bool)
        value_N = np.where(failed_N, 0.1, ndtr(1.3 + 0.7 * normal_N))
    sizes = rng.integers(1, shape[1] + 1, shape[0]) if shape[0] < POPULATION and shape[1] == UNEQUAL else None
    if sizes is not None:
        value_N = np.where(np.arange(shape[1]) < sizes[:, None], value_N.reshape(shape), np.nan).ravel()
    known_N = ~np.isnan(value_N)

    def values(weights_DN: np.ndarray) -> dict[str, np.ndarray]:
        return {of: weights_DN @ np.nan_to_num(value_N) / (weights_DN @ known_N)}

    def intervals(subject_N: np.ndarray, left: dict[str, np.ndarray]) -> dict[str, Interval]:
        return {of: interval(of.split(",")[0], Mean(value_N), subject_N)}

    return Sample(values, intervals, shape[0])


def risk_group(rng: np.random.Generator, subject_N: np.ndarray, shape: tuple[int, int], risk: float, censored: float):
    """Return times to an event of which a share `risk` comes by time 1; some are censored before."""
    time_N = np.log(ndtr(normal(rng, *shape))) / np.log(1 - risk)
    until_N = rng.exponential(size=time_N.shape) / -np.log(1 - censored) if censored else np.full(time_N.shape, 9.0)
    until_N = np.minimum(until_N, 1.5) if shape[0] < POPULATION else np.full(time_N.shape, 9.0)
    event_N, seen_N = time_N <= until_N, np.minimum(time_N, until_N)

    def values(weights_DN: np.ndarray) -> dict[str, np.ndarray]:
        return {"Kaplan-Meier": free_of_event(seen_N, event_N, weights_DN, np.ones(1))[:, 0]}

    def intervals(subject_N: np.ndarray, left: dict[str, np.ndarray]) -> dict[str, Interval]:
        found = limits(seen_N, event_N, subject_N, np.ones(1))
        low, high = float(found.low_T[0]), float(found.high_T[0])
        given = not np.isnan(low)
        return {"Kaplan-Meier": Interval(low if given else None, high if given else None, None, None)}

    return Sample(values, intervals, shape[0])


QUESTIONS = (  # people, images, prevalence, AUROC
    (20, 1, 0.5, 0.7), (20, 1, 0.5, 0.9), (20, 2, 0.3, 0.7), (20, 2, 0.3, 0.9), (20, 2, 0.5, 0.97), (10, 10, 0.5, 0.9),
    (30, 2, 0.1, 0.9), (30, 2, 0.3, 0.8), (50, 1, 0.3, 0.8), (50, 2, 0.1, 0.7), (50, 4, 0.3, 0.9), (100, 1, 0.1, 0.9),
    (100, 2, 0.05, 0.97), (100, 2, 0.1, 0.7), (100, 2, 0.3, 0.97), (100, 2, 0.5, 0.6), (200, 2, 0.05, 0.9),
    (200, 2, 0.3, 0.8),
)  # fmt: skip
GRADES = ((20, 2, 0.5), (30, 1, 0.5), (50, 2, 0.5), (50, 2, 1.0), (100, 2, 0.25))  # people, images, noise
MEASURED = ((5, 2, 0.45), (10, 2, 0.45), (20, 1, 0.45), (20, 2, 0.9), (50, 2, 0.45))  # people, images, error
MEANS = ((5, 1), (8, 2), (10, 10), (20, 1), (20, 4), (30, 6), (100, 2))  # people, images (6: one to six)
RISK_GROUPS = (  # people, images, risk, share censored
    (10, 1, 0.03, 0.0), (20, 1, 0.03, 0.0), (40, 1, 0.03, 0.0), (10, 2, 0.1, 0.3), (20, 2, 0.1, 0.3), (40, 2, 0.1, 0.3),
    (40, 1, 0.3, 0.3), (100, 2, 0.3, 0.3),
)  # fmt: skip


def grid() -> Iterator[Cell]:
    """Yield all cells."""
    for people, images, prevalence, auroc in QUESTIONS:
        yield Cell(question, people, images, {"prevalence": prevalence, "auroc": auroc})
    for people, images, noise in GRADES:
        yield Cell(grades, people, images, {"noise": noise})
    for people, images, error in MEASURED:
        yield Cell(measured, people, images, {"error": error})
    for of in ("dice", "dice, 8 % failures", "mre"):
        for people, images in MEANS:
            yield Cell(mean, people, images, {"of": of})
    for people, images, risk, censored in RISK_GROUPS:
        yield Cell(risk_group, people, images, {"risk": risk, "censored": censored})


def coverage(cell: Cell, repeats: int, old: int) -> dict[str, Found]:
    """Return what was found of each metric of a cell."""
    name = repr((cell.world.__name__, cell.people, cell.images, cell.setting))
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    one = np.arange(POPULATION)
    everybody = cell.world(np.random.default_rng(0), one, (POPULATION, 1), **cell.setting)
    true = {metric: float(value_D[0]) for metric, value_D in everybody.values(np.ones((1, POPULATION))).items()}
    place_N = np.repeat(np.arange(cell.people), cell.images)
    subject_N = np.char.zfill(place_N.astype(str), 5).astype(object)
    left_JN = np.concatenate(list(left_out(subject_N)))
    drawn_DN = np.random.default_rng(1).multinomial(cell.people, np.full(cell.people, 1 / cell.people), DRAWS)
    drawn_DN = drawn_DN.astype(np.float64)[:, place_N]
    count = {metric: np.zeros((2, 2)) for metric in true}  # by old and new: given, covered
    tried = 0
    for repeat in range(repeats):
        sample = cell.world(rng, place_N, (cell.people, cell.images), **cell.setting)
        if sample.least == 0:
            continue  # nothing is defined
        tried += 1
        found = sample.intervals(subject_N, sample.values(left_JN))
        before = sample.values(drawn_DN) if repeat < old else {}
        for metric in found:
            new = found[metric]
            if new.low is not None:
                count[metric][1] += 1, new.low <= true[metric] <= new.high
            if metric in before:
                defined = before[metric][~np.isnan(before[metric])]
                if len(defined) > 0.95 * DRAWS and np.ptp(defined) > 0:
                    low, high = np.quantile(defined, [0.025, 0.975])
                    count[metric][0] += 1, low <= true[metric] <= high
    return {
        metric: Found(*(held / given if given else np.nan for given, held in counted), counted[1][0] / tried)
        for metric, counted in count.items()
        if metric in found
    }


def tables(cells: dict[str, list[tuple[Cell, dict[str, Found]]]]) -> Iterator[str]:
    """Yield a table of each world: a row per cell, a column per metric."""
    for of_world in cells.values():
        metrics = list(dict.fromkeys(metric for _, found in of_world for metric in found))
        yield "| people, images each, setting | " + " | ".join(metrics) + " |\n" + "|---" * (len(metrics) + 1) + "|"
        rows: dict[str, dict[str, Found]] = {}
        for cell, found in of_world:
            setting = [f"{name} {value}" for name, value in cell.setting.items() if name != "of"]
            images = "1 to 6" if cell.images == UNEQUAL else str(cell.images)
            rows.setdefault(", ".join([str(cell.people), images, *setting]), {}).update(found)
        for name, row in rows.items():
            shown = [row[metric].text() if metric in row else "" for metric in metrics]
            yield "| " + " | ".join([name, *shown]) + " |"
        yield ""


def main() -> None:
    """Print the tables, and what misses the goal."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=2000, help="test sets of each cell")
    arguments.add_argument("--old", type=int, default=400, help="of these, how many get the bootstrap too")
    arguments.add_argument("--world", help="only the cells of this world")
    given = arguments.parse_args()
    started = time.process_time()
    cells: dict[str, list[tuple[Cell, dict[str, Found]]]] = {}
    for cell in grid():
        world = cell.world.__name__
        if given.world in (None, world):
            cells.setdefault(world, []).append((cell, coverage(cell, given.repeats, given.old)))
    print("\n".join(tables(cells)))
    print(f"{time.process_time() - started:.0f} s of CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
