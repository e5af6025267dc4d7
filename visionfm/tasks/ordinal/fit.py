"""Task kind `ordinal`: grades by maximum likelihood, each target with its weight.

A head's outputs are log probabilities of the grades, so losses, class weights and the choice of the epoch are those of
several classes (classification/fit.py); both heads differ in what probabilities they can give (heads.py).
Shapes: N samples, F features, G grades, K outputs.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from visionfm.tasks.classification.fit import Classification
from visionfm.tasks.ordinal.heads import CornHead, CumulativeHead, cumulative_log_probabilities
from visionfm.tasks.settings import TargetSpec, VectorFitSettings
from visionfm.tasks.vectors.baselines import ITERATIONS, Part, Scores, known_rows
from visionfm.tasks.vectors.objective import Prediction
from visionfm.tasks.vectors.recipe import HeadRecipe, sound

Floats = npt.NDArray[np.float64]
PUBLISHED_HEAD = None
HEADS = {"cumulative": CumulativeHead, "corn": CornHead}
BASELINE_HEADS = {"knn": "knn", "logreg": "cumulative"}
log = logging.getLogger("visionfm")


class Ordinal(Classification):
    """Losses, selection scores and predictions of grades."""

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return (N, 1 + G): the expected grade, then the probability of each."""
        found = []
        for one in super().predict(outputs_NK):
            expected_N = one.values @ np.arange(one.values.shape[1])
            found.append(one._replace(values=np.column_stack([expected_N, one.values]), numbers=1))
        return found


def make(settings: VectorFitSettings, recipe: HeadRecipe, truth_NT: Floats) -> Ordinal:
    """Return the objective of a training, whose labels are `truth_NT`."""
    return Ordinal(settings.targets, recipe, truth_NT, single=False)


def restored(targets: Mapping[str, TargetSpec], constants: Mapping[str, npt.NDArray[Any]]) -> Ordinal:
    """Return the objective of a decoder's file, as predictions need it."""
    return Ordinal(targets, sound(), np.full((1, len(targets)), np.nan), single=False)


class Logistic:
    """Regressions of proportional odds of rising C, each started from the one before.

    Minimises |w|^2 / 2 + C x the sum of minus the log likelihoods by L-BFGS, as scikit-learn's logistic regression
    does; the thresholds are free.
    """

    def __init__(self, part: Part, features_NF: Any, validation_NF: Any, balanced: bool) -> None:
        """Fit on the training samples of `part` that are known; `balanced`: rare grades weigh more."""
        from sklearn.utils.class_weight import compute_sample_weight

        known_N = ~np.isnan(part.truth_N)
        truth_N = part.truth_N[known_N].astype(np.int64)
        self.part = part
        self.features_NF = torch.from_numpy(known_rows(features_NF, known_N).astype(np.float64))
        self.validation_NF = torch.from_numpy(validation_NF.astype(np.float64))
        self.truth_N = torch.from_numpy(truth_N)
        self.weight_N = torch.from_numpy(compute_sample_weight("balanced" if balanced else None, truth_N))
        at_most_C = np.cumsum(np.bincount(truth_N, minlength=part.classes))[:-1] / len(truth_N)
        thresholds_C = np.log(at_most_C / (1 - at_most_C))  # all grades occur, so they rise
        start = [np.zeros(features_NF.shape[1]), thresholds_C[:1], np.log(np.diff(thresholds_C))]
        self.values = np.concatenate(start)

    def __call__(self, value: float) -> Scores:
        """Fit with C = `value`."""
        from scipy.optimize import minimize

        def loss(values: Floats) -> tuple[float, Floats]:
            values_P = torch.tensor(values, requires_grad=True)
            logs_NG = self._log_probabilities(values_P, self.features_NF)
            likelihood = (logs_NG.gather(1, self.truth_N.unsqueeze(1)).squeeze(1) * self.weight_N).sum()
            total = values_P[: self.features_NF.shape[1]].square().sum() / 2 - value * likelihood
            total.backward()  # type: ignore[no-untyped-call]
            assert values_P.grad is not None
            return float(total.detach()), values_P.grad.numpy()

        options = {"maxiter": ITERATIONS, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
        found = minimize(loss, self.values, jac=True, method="L-BFGS-B", options=options)
        if found.nit >= ITERATIONS:
            name = self.part.name
            log.warning("train: %s: proportional odds with C = %g stopped after %d steps", name, value, ITERATIONS)
        self.values = found.x
        with torch.no_grad():
            scores_NG = self._log_probabilities(torch.from_numpy(self.values), self.validation_NF).exp().numpy()
        return scores_NG, self.values.copy()

    def _log_probabilities(self, values_P: torch.Tensor, features_NF: torch.Tensor) -> torch.Tensor:
        width = features_NF.shape[1]
        return cumulative_log_probabilities(
            features_NF @ values_P[:width], values_P[width : width + 1], values_P[width + 1 :]
        )

    def put(self, head: Any, made: Floats) -> None:
        """Write weights and thresholds into the head."""
        part, width = head.of(self.part.slot.name), self.features_NF.shape[1]
        values_P = torch.from_numpy(made).float()
        part.weight[0], part.first[:], part.gap_logs[:] = values_P[:width], values_P[width], values_P[width + 1 :]
