"""What a kind on patch tokens gives the shared loop and the stage `predict`: truths to losses, outputs to maps.

A kind's module `fit` has `make(train, recipe, settings)` for training, `restored(spec)` for a decoder's file,
`check_outputs(path, outputs, targets)` for a published one, `truth_of(sample, targets)`, and the words TRUTH and SCORE.
A kind's module `predicted` has `rows` and the COLUMNS that they have of their own.
Shapes: B batch, K outputs, H/W px.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch

from visionfm.tasks.maps.examples import Example


class MapObjective(Protocol):
    """Truths to losses, logits to maps."""

    outputs: int  # K
    flips: tuple[str, ...]  # the views of an image that mean the same
    has_crops: bool  # whether a part of an image can be learned by itself

    def truth(self, examples: Sequence[Example]) -> torch.Tensor:
        """Return the truth of a batch."""

    def loss(self, logits_BKHW: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return a batch's training loss."""

    def score(self, logits_1KHW: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
        """Return one image's loss, and its quality, NaN where there is none; the best epoch has the highest mean."""

    def probabilities(self, logits_BKHW: torch.Tensor) -> torch.Tensor:
        """Return maps (B, K, H, W)."""

    def best_threshold(self, pairs: Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]) -> float | None:
        """Return the threshold of the best quality over logits and truths; None where nothing is cut at one."""

    def read(self, p_KHW: torch.Tensor) -> Any:
        """Return what a map says."""
