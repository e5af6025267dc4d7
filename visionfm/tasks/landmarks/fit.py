"""Task kind `landmarks`: any number of points, one heat map each; absent points are masked.

A heat map is a spatial softmax; a point is read out with sub-pixel precision as the centroid around its peak.
Shapes: B batch, K points, H/W px, S px of the square input.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from visionfm.data.columns import DenseSample
from visionfm.errors import DataError
from visionfm.tasks.landmarks import LandmarksTask
from visionfm.tasks.maps.examples import Example
from visionfm.tasks.maps.losses import point_loss
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.settings import DenseTarget, DenseTrainSettings

if TYPE_CHECKING:
    from visionfm.tasks.maps.spec import DenseSpec

TRUTH, SCORE = "a point", "error in px"
LEAST_RADIUS_PX, WIDTHS = 2, 2.5  # the centroid's window reaches this many target widths from the peak
ROUNDS = 3


class Landmarks:
    """Losses, selection scores and read-out of points."""

    flips, has_crops = LandmarksTask.flips, False

    def __init__(self, points: int, width_px: float) -> None:
        """`points` is K, `width_px` the standard deviation of a target, 0 for one pixel."""
        self.outputs = points
        self.width_px = width_px

    def truth(self, examples: Sequence[Example]) -> torch.Tensor:
        """Return points (B, K, 2), NaN where absent."""
        return torch.from_numpy(np.stack([example.points_K2 for example in examples]).astype(np.float32))

    def loss(self, logits_BKHW: torch.Tensor, truth_BK2: torch.Tensor) -> torch.Tensor:
        """Return a batch's training loss."""
        return point_loss(logits_BKHW, truth_BK2, self.width_px)

    def score(self, logits_1KHW: torch.Tensor, truth_1K2: torch.Tensor) -> tuple[float, float]:
        """Return one image's loss and minus its mean radial error in px of the input."""
        loss = float(self.loss(logits_1KHW, truth_1K2))
        points_K2, _ = self.read(self.probabilities(logits_1KHW)[0])
        error_K = (points_K2 - truth_1K2[0]).norm(dim=1)
        return loss, -float(error_K.nanmean())

    def probabilities(self, logits_BKHW: torch.Tensor) -> torch.Tensor:
        """Return heat maps (B, K, H, W), each of sum 1."""
        return logits_BKHW.float().flatten(2).softmax(dim=2).view(logits_BKHW.shape)

    def best_threshold(self, pairs: Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]) -> float | None:
        """Return None: a point is read out without a threshold."""
        return None

    def read(self, p_KHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return points (K, 2) as x, y in px, and how much of each heat map lies in its point's window, 0 to 1."""
        height, width = p_KHW.shape[1:]
        radius = max(LEAST_RADIUS_PX, round(WIDTHS * self.width_px))
        points, shares = [], []
        for p_HW in p_KHW:
            peak = int(p_HW.argmax())
            y, x = float(peak // width), float(peak % width)
            for _ in range(ROUNDS):
                top, left = max(0, round(y) - radius), max(0, round(x) - radius)
                window = p_HW[top : round(y) + radius + 1, left : round(x) + radius + 1].double()
                share = float(window.sum())
                rows = torch.arange(top, top + window.shape[0], device=window.device, dtype=torch.float64)
                columns = torch.arange(left, left + window.shape[1], device=window.device, dtype=torch.float64)
                y = min(max(float((window.sum(dim=1) * rows).sum()) / share, 0.0), height - 1.0)
                x = min(max(float((window.sum(dim=0) * columns).sum()) / share, 0.0), width - 1.0)
            points.append((x, y))
            shares.append(share)
        return torch.tensor(points, device=p_KHW.device), torch.tensor(shares)


def make(train: Sequence[Example], recipe: DenseRecipe, settings: DenseTrainSettings) -> Landmarks:
    """Return the objective of a training."""
    return Landmarks(len(settings.targets), recipe.target_width)


def restored(spec: "DenseSpec") -> Landmarks:
    """Return the objective of a decoder's file, as predictions need it."""
    return Landmarks(spec.outputs, spec.target_width)


def check_outputs(path: Path, outputs: int, targets: Mapping[str, DenseTarget]) -> None:
    """Raise DataError unless a published decoder has an output for each point."""
    if outputs != len(targets):
        raise DataError(
            "the decoder's outputs do not fit the points",
            expected=f"{len(targets)} outputs: {', '.join(targets)}",
            found=outputs,
            where=path,
            do="list the points in the order of the decoder's outputs",
        )


def truth_of(sample: DenseSample, targets: Mapping[str, DenseTarget]) -> list[tuple[float, float] | None]:
    """Return what training uses of a sample's truth, as JSON has it: the task's points."""
    return [sample.points.get(name) for name in targets]


def has_truth(sample: DenseSample, targets: Mapping[str, DenseTarget]) -> bool:
    """Tell whether a sample has a point of the task."""
    return any(point is not None for point in truth_of(sample, targets))
