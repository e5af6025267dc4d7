"""Metrics of points against the truth: distances, and whether they lie within a threshold; NaN where unknown.

Shapes: N images, P points.
"""

import numpy as np

from visionfm.metrics.weighted import Floats


def radial_errors(said_N2: Floats, true_N2: Floats) -> Floats:
    """Return the distance of each predicted (x, y) from the true one, in their unit; NaN where either is unknown."""
    distance_N: Floats = np.hypot(*(said_N2 - true_N2).T)
    return distance_N


def within(errors_N: Floats, threshold: float) -> Floats:
    """Return 1 where an error is at most the threshold, 0 where it is larger, NaN where it is unknown."""
    return np.where(np.isnan(errors_N), np.nan, errors_N <= threshold)


def mean_over_known(values_PN: Floats) -> Floats:
    """Return each image's mean over the points that it knows, NaN where it knows none."""
    known_PN = ~np.isnan(values_PN)
    count_N = known_PN.sum(axis=0)
    total_N = np.where(known_PN, values_PN, 0.0).sum(axis=0)
    return np.where(count_N > 0, total_N / np.maximum(count_N, 1), np.nan)
