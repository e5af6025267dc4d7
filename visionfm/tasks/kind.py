"""What a task kind gives the shared loop and the stage `predict`; a new kind is a new file that provides it.

Shapes: B batch, N samples, K outputs, T label columns (NaN where unknown).
"""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from visionfm.tasks.slots import Slot


class Prediction(NamedTuple):
    """Predictions of one target (of one class of it, in multilabel): scores in [0, 1], or values in its unit."""

    slot: Slot
    class_name: str | None
    label: int  # column of truth_NT
    values: npt.NDArray[np.float64]  # (N, 1), or (N, classes) for multiclass


class Kind(Protocol):
    """Targets to losses, outputs to predictions."""

    def constants(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return what predictions need beside the weights, by the name it has in the decoder's file."""

    def loss(self, outputs_BK: torch.Tensor, truth_BT: torch.Tensor) -> torch.Tensor:
        """Return a batch's training loss (a scalar)."""

    def score(self, outputs_NK: torch.Tensor, truth_NT: torch.Tensor) -> tuple[float, float]:
        """Return the loss on the validation set, and the score of which the highest makes the best epoch."""

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return what the outputs mean, target by target."""
