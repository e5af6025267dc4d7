"""What a kind on feature vectors gives the shared loops and `predict`: targets to losses, outputs to predictions.

A kind's module `fit` has `make(settings, recipe, truth_NT)` for training, `restored(targets, constants)` for a
decoder's file, and `PUBLISHED_HEAD`, the head of the published decoders of the kind, or None.
Shapes: B batch, N samples, K outputs, T label columns (NaN where unknown).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from visionfm.tasks.slots import Slot


class Prediction(NamedTuple):
    """Predictions of one target (of one class of it, in multilabel): scores in [0, 1], or values in its unit.

    The first `numbers` columns of `values` are a number in the target's unit (or a risk), the others scores.
    """

    slot: Slot
    class_name: str | None
    label: int  # column of truth_NT
    values: npt.NDArray[np.float64]  # (N, 1), or (N, classes) for multiclass
    numbers: int = 0


class Objective(Protocol):
    """Targets to losses, outputs to predictions."""

    def constants(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return what predictions need beside the weights, by the name it has in the decoder's file."""

    def loss(self, outputs_BK: torch.Tensor, truth_BT: torch.Tensor) -> torch.Tensor:
        """Return a batch's training loss (a scalar)."""

    def score(self, outputs_NK: torch.Tensor, truth_NT: torch.Tensor) -> tuple[float, float]:
        """Return the loss on the validation set, and the score of which the highest makes the best epoch."""

    def finish(self, outputs: Callable[[], torch.Tensor], truth_NT: torch.Tensor) -> None:
        """Take what predictions need from the training samples; `outputs` computes those of the best epoch."""

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return what the outputs mean, target by target."""
