"""How far graders of the same images agree: kappa, with the interval that all metrics have (over subjects).

One formula serves numbers and names. A grade is a vector u: a number itself, of a name the unit vector / sqrt(2); so
|u - v|^2 is the squared difference of numbers, 0 or 1 of names, and kappa = 1 - E|u - v|^2 / expected by chance. Known
graders give Cohen's kappa (Cohen 1960; of numbers with quadratic weights, Cohen 1968), interchangeable ones Fleiss'
(Fleiss 1971). Shape legend: J leave-outs (the whole sample stands first), N images, V values of a vector.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from visionfm.metrics.evidence import Interval, LeftOut
from visionfm.metrics.intervals import interval
from visionfm.metrics.jackknife import left_out
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats

MOST_NAMES = 200  # more are free text, of which no agreement is asked


class Agreement(NamedTuple):
    """Kappa of n images that two graders or more have graded, its 95 % interval or why there is none; equal grades."""

    images: int
    subjects: int
    equal: float  # share of the pairs of grades that are the same, 0 to 1
    kappa: float  # NaN where all grades are the same
    low: float | None
    high: float | None
    reason: str | None
    quadratic: bool  # whether numbers were compared by their squared distance


def agreement(grades: Sequence[Sequence[float | str]], subjects: Sequence[str], *, known: bool) -> Agreement | None:
    """Return how the grades of each image agree; `known`: the same two graders stand first and second throughout.

    None where no image has two grades. Numbers everywhere are compared by their distance, else all grades are names.
    """
    both = [(image, subject) for image, subject in zip(grades, subjects, strict=True) if len(image) > 1]
    names = sorted({str(grade) for image, _ in both for grade in image})
    numeric = all(not isinstance(grade, str) for image, _ in both for grade in image)
    if not both or (not numeric and len(names) > MOST_NAMES):
        return None
    at = {name: index for index, name in enumerate(names)}

    def vectors(image: Sequence[float | str]) -> Floats:
        if numeric:
            return np.array([[float(grade)] for grade in image])
        u_GV: Floats = np.eye(len(names))[[at[str(grade)] for grade in image]] / np.sqrt(2)
        return u_GV

    rows, equal = [], []
    for image, _ in both:
        u_GV = vectors(image)
        first, second = np.triu_indices(len(image), 1)
        distance = float(((u_GV[first] - u_GV[second]) ** 2).sum(axis=1).mean())
        equal.append(float((u_GV[first] == u_GV[second]).all(axis=1).mean()))
        mean = u_GV.mean(axis=0)
        ends = (u_GV[0], u_GV[1]) if known else (mean, mean)
        rows.append(np.concatenate([[distance, 2 * float((u_GV**2).sum(axis=1).mean())], *ends]))
    people = Subjects.of(np.array([subject for _, subject in both]))
    kappa_J = np.concatenate([_kappa(weights_JN, np.array(rows)) for weights_JN in left_out(people)])
    found: Interval = interval("quadratic_kappa", LeftOut(kappa_J, {}), people)
    same, kappa = float(np.mean(equal)), float(kappa_J[0])
    return Agreement(len(both), people.count, same, kappa, found.low, found.high, found.reason, numeric)


def _kappa(weights_JN: Floats, rows_NX: Floats) -> Floats:
    """Return kappa of each leave-out; NaN where all grades are the same, so that chance alone explains them."""
    with np.errstate(divide="ignore", invalid="ignore"):  # nobody is left where one person is all
        mean_JX = weights_JN @ rows_NX / weights_JN.sum(axis=1, keepdims=True)
    width = (rows_NX.shape[1] - 2) // 2
    product_J = (mean_JX[:, 2 : 2 + width] * mean_JX[:, 2 + width :]).sum(axis=1)
    chance_J = mean_JX[:, 1] - 2 * product_J
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa_J: Floats = np.where(chance_J > 1e-12, 1 - mean_JX[:, 0] / chance_J, np.nan)
    return kappa_J
