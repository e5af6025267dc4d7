"""Task kind `regression`: any number of named values with units, unknown ones (NaN) masked.

Loss = weighted mean over targets of SmoothL1 (beta 1; Huber 1964), on targets standardised over the training rows, or
raw in the published recipe. Predictions are in the targets' own units.
Shapes: B batch, N samples, K outputs = T targets.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from visionfm.errors import DataError
from visionfm.tasks.settings import TargetSpec, VectorFitSettings
from visionfm.tasks.slots import slots
from visionfm.tasks.vectors.objective import Prediction
from visionfm.tasks.vectors.recipe import HeadRecipe, sound

Floats = npt.NDArray[np.float64]
PUBLISHED_HEAD = "RegHead"


class Regression:
    """Losses, selection scores and predictions of values."""

    def __init__(
        self, targets: Mapping[str, TargetSpec], recipe: HeadRecipe, mean_T: Floats, std_T: Floats, known_T: Floats
    ) -> None:
        """Outputs are (value - mean) / std; `known_T` is the fraction of training labels known."""
        self.slots = slots(targets)
        self.recipe = recipe
        self.mean_T, self.std_T, self.known_T = mean_T, std_T, known_T
        self.weights_T = np.array([slot.target.weight for slot in self.slots])

    def constants(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the targets' mean and standard deviation, which predictions need."""
        return {"targets.mean": self.mean_T.astype(np.float32), "targets.std": self.std_T.astype(np.float32)}

    def loss(self, outputs_BK: torch.Tensor, truth_BT: torch.Tensor, known_T: Floats | None = None) -> torch.Tensor:
        """Return the loss of a batch; see Classification.loss for what unknown labels do to the mean."""
        known_T = self.known_T if known_T is None else known_T
        share_T = np.where(known_T > 0, known_T, 1) if self.recipe.mean_over == "known" else np.ones_like(known_T)
        known_BT = ~truth_BT.isnan()
        scaled_BT = (truth_BT - self._like(self.mean_T, truth_BT)) / self._like(self.std_T, truth_BT)
        scaled_BT = torch.where(known_BT, scaled_BT, torch.zeros_like(scaled_BT))
        losses_BT = functional.smooth_l1_loss(outputs_BK, scaled_BT, reduction="none") * known_BT
        return (losses_BT.mean(0) * self._like(self.weights_T / share_T, losses_BT)).mean()

    def _like(self, values_T: Floats, tensor: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values_T, dtype=tensor.dtype, device=tensor.device)

    def score(self, outputs_NK: torch.Tensor, truth_NT: torch.Tensor) -> tuple[float, float]:
        """Return (loss, score) on a whole validation set; the epoch with the highest score is the best.

        Published: the relative error, mean over targets of mean |error| / |mean target|; a target of mean 0 has none
        and is left out.
        """
        truth = truth_NT.double().cpu().numpy()
        loss = float(self.loss(outputs_NK, truth_NT, (~np.isnan(truth)).mean(axis=0)))
        if self.recipe.selection == "loss":
            return loss, -loss
        relative = []
        for at, value_N in enumerate(self._values(outputs_NK).T):
            known_N = ~np.isnan(truth[:, at])
            mean = abs(truth[known_N, at].mean()) if known_N.any() else 0.0
            if mean > 0:
                relative.append(np.abs(value_N - truth[:, at])[known_N].mean() / mean)
        return loss, -float(np.mean(relative)) if relative else -loss

    def _values(self, outputs_NK: torch.Tensor) -> Floats:
        values: Floats = outputs_NK.double().cpu().numpy() * self.std_T + self.mean_T
        return values

    def finish(self, outputs: Callable[[], torch.Tensor], truth_NT: torch.Tensor) -> None:
        """Take nothing more from the training samples."""

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return values (N, 1) in the targets' units."""
        values_NK = self._values(outputs_NK)
        return [Prediction(slot, None, slot.labels.start, values_NK[:, slot.outputs], numbers=1) for slot in self.slots]


def make(settings: VectorFitSettings, recipe: HeadRecipe, truth_NT: Floats) -> Regression:
    """Return the objective of a training, whose labels are `truth_NT`."""
    return Regression(settings.targets, recipe, *fit_targets(recipe, truth_NT, list(settings.targets)))


def restored(targets: Mapping[str, TargetSpec], constants: Mapping[str, npt.NDArray[Any]]) -> Regression:
    """Return the objective of a decoder's file, as predictions need it; a published one has raw targets."""
    mean_T, std_T = constants["targets.mean"].astype(np.float64), constants["targets.std"].astype(np.float64)
    return Regression(targets, sound(), mean_T, std_T, np.ones(len(mean_T)))


def fit_targets(recipe: HeadRecipe, truth_NT: Floats, names: list[str]) -> tuple[Floats, Floats, Floats]:
    """Return mean_T, std_T (0 and 1 where the recipe leaves targets raw) and known_T of the training labels.

    Raises DataError where a target has no known value in training.
    """
    known_NT = ~np.isnan(truth_NT)
    for at, name in enumerate(names):
        if not known_NT[:, at].any():
            raise DataError(
                f"target {name} has no known value in the training split",
                expected="at least one",
                found="none",
                do="correct its column or `unknown`, or leave the target out",
            )
    if not recipe.standardise:
        return np.zeros(len(names)), np.ones(len(names)), known_NT.mean(axis=0)
    std_T = np.nanstd(truth_NT, axis=0)
    return np.nanmean(truth_NT, axis=0), np.where(std_T > 0, std_T, 1), known_NT.mean(axis=0)
