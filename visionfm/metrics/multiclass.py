"""Metrics of one of several classes, taken as a whole, as functions of sample weights.

Shape legend: D draws, N samples, K classes, J leave-outs (the whole sample stands first).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visionfm.metrics.evidence import Evidence, LeftOut, Members, Share
from visionfm.metrics.intervals import interval
from visionfm.metrics.subjects import Subjects
from visionfm.metrics.weighted import Floats, Values, ratio


class Multiclass:
    """One of K classes as a whole: accuracy, balanced accuracy, quadratic kappa (where the classes are ordered)."""

    def __init__(self, truth_N: Floats, called_N: NDArray[np.intp], classes: Sequence[str], ordered: bool) -> None:
        """`truth_N` are class indices, NaN where unknown; `called_N` the most probable classes."""
        self.names, self.classes, self.ordered = classes, len(classes), ordered
        self.truth_N, self.called_N = truth_N, called_N
        self.known_N = ~np.isnan(truth_N)
        truth = truth_N[self.known_N].astype(int)
        self.present_K = np.bincount(truth, minlength=self.classes) > 0
        self.cells_NC = np.zeros((len(truth_N), self.classes**2))
        self.cells_NC[np.flatnonzero(self.known_N), truth * self.classes + called_N[self.known_N]] = 1

    def __call__(self, weights_DN: Floats) -> Values:
        """Return all metrics of each draw: values_D."""
        confusion_DKK = (weights_DN @ self.cells_NC).reshape(-1, self.classes, self.classes)  # truth, call
        values: Values = {
            ("accuracy", None): ratio(np.trace(confusion_DKK, axis1=1, axis2=2), confusion_DKK.sum(axis=(1, 2))),
            ("balanced_accuracy", None): balanced_accuracy(confusion_DKK),
        }
        if self.ordered:
            values["quadratic_kappa", None] = quadratic_kappa(confusion_DKK)
        return values

    def left_out(self, weights_JN: Floats) -> Values:
        """Return the metrics that have no evidence but their values without each group of subjects."""
        if not self.ordered:
            return {}
        confusion_JKK = (weights_JN @ self.cells_NC).reshape(-1, self.classes, self.classes)
        return {("quadratic_kappa", None): quadratic_kappa(confusion_JKK)}

    def evidence(self, left: Values, subjects: Subjects) -> dict[tuple[str, str | None], Evidence]:
        """Return what each metric's interval is computed from; `left` are all values of `left_out`."""
        hit_N = self.known_N & (self.truth_N == self.called_N)
        sensitivity = {
            name: interval("sensitivity", Share(hit_N, self.truth_N == k), subjects)
            for k, name in enumerate(self.names)
            if self.present_K[k]
        }
        found: dict[tuple[str, str | None], Evidence] = {
            ("accuracy", None): Share(hit_N, self.known_N),
            ("balanced_accuracy", None): Members(sensitivity),
        }
        return found | {key: LeftOut(values_J, {}, self.known_N) for key, values_J in left.items()}

    def why_undefined(self, metric: str, point: str | None = None) -> str | None:
        """Return why a metric has no value for the whole sample; None where it has one."""
        n = int(self.known_N.sum())
        if n == 0:
            return "no sample with a known answer"
        if metric != "accuracy" and self.present_K.sum() < 2:
            return f"only one class among {n} known"
        return None


def balanced_accuracy(confusion_DKK: Floats) -> Floats:
    """Return the mean sensitivity over the classes that occur; NaN where fewer than two do."""
    positives_DK = confusion_DKK.sum(axis=2)
    hits_DK = np.diagonal(confusion_DKK, axis1=1, axis2=2)
    sensitivity_DK = np.divide(hits_DK, positives_DK, out=np.zeros_like(positives_DK), where=positives_DK > 0)
    present_D = (positives_DK > 0).sum(axis=1)
    return np.where(present_D > 1, sensitivity_DK.sum(axis=1) / np.maximum(present_D, 1), np.nan)


def quadratic_kappa(confusion_DKK: Floats) -> Floats:
    """Return Cohen's kappa with weights (i - j)^2 over all K grades; NaN where fewer than two occur in the truth."""
    grades_K = np.arange(confusion_DKK.shape[1])
    cost_KK = (grades_K[:, None] - grades_K[None, :]) ** 2.0
    truth_DK, called_DK = confusion_DKK.sum(axis=2), confusion_DKK.sum(axis=1)
    observed_D = (confusion_DKK * cost_KK).sum(axis=(1, 2)) * truth_DK.sum(axis=1)
    expected_D = (truth_DK[:, :, None] * called_DK[:, None, :] * cost_KK).sum(axis=(1, 2))
    return np.where((truth_DK > 0).sum(axis=1) > 1, 1 - ratio(observed_D, expected_D), np.nan)
