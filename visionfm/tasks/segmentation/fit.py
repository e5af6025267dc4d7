"""Task kind `segmentation`: one mask of classes, the background first; two classes have one output.

Shapes: B batch, K outputs, C classes, H/W px.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from visionfm.data.columns import DenseSample
from visionfm.errors import DataError
from visionfm.tasks.maps.examples import Example
from visionfm.tasks.maps.losses import balanced_weights, dice_focal
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.settings import DenseTarget, DenseTrainSettings
from visionfm.tasks.segmentation import SegmentationTask

if TYPE_CHECKING:
    from visionfm.tasks.maps.spec import DenseSpec

TRUTH, SCORE = "a mask", "Dice"
THRESHOLDS = tuple(step / 20 for step in range(6, 17))  # 0.3 to 0.8


class Segmentation:
    """Losses, selection scores and probabilities of a mask."""

    flips, has_crops = SegmentationTask.flips, True

    def __init__(
        self,
        target: DenseTarget,
        weight_C: torch.Tensor | None = None,
        outputs: int | None = None,
        over_batch: bool = False,
        threshold: float = 0.5,
    ) -> None:
        """`outputs` is K where a published decoder decides it; DataError unless it fits the classes.

        `weight_C` and `over_batch` are the loss's, see dense_losses. Of two classes a pixel is of the second where its
        probability is above `threshold`.
        """
        self.target = target
        self.weight_C, self.over_batch, self.threshold = weight_C, over_batch, threshold
        classes = len(target.classes)
        self.outputs = (1 if classes == 2 else classes) if outputs is None else outputs
        if self.outputs != classes and (self.outputs, classes) != (1, 2):
            raise DataError(
                "the decoder's outputs do not fit the classes",
                expected=f"{classes} outputs" + (", or 1" if classes == 2 else ""),
                found=self.outputs,
                do="give the target the classes that the decoder was trained with, in its order",
            )

    def truth(self, examples: Sequence[Example]) -> torch.Tensor:
        """Return class indices (B, H, W), uint8."""
        masks = [example.mask_HW for example in examples if example.mask_HW is not None]
        return torch.from_numpy(np.stack(masks))

    def loss(self, logits_BKHW: torch.Tensor, truth_BHW: torch.Tensor) -> torch.Tensor:
        """Return a batch's training loss."""
        return dice_focal(logits_BKHW, truth_BHW, self.weight_C, self.over_batch)

    def score(self, logits_1KHW: torch.Tensor, truth_1HW: torch.Tensor) -> tuple[float, float]:
        """Return one image's loss and its mean Dice over the foreground classes, NaN where none occurs at all."""
        loss = float(self.loss(logits_1KHW, truth_1HW))
        found_HW, truth_HW = self.read(self.probabilities(logits_1KHW)[0]), truth_1HW[0]
        dice = []
        for index in range(1, len(self.target.classes)):
            dice.append(_dice(found_HW == index, truth_HW == index))
        known = [value for value in dice if not np.isnan(value)]
        return loss, float(np.mean(known)) if known else float("nan")

    def probabilities(self, logits_BKHW: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, K, H, W): of the second class alone where there is one output."""
        logits_BKHW = logits_BKHW.float()
        return logits_BKHW.sigmoid() if self.outputs == 1 else logits_BKHW.softmax(dim=1)

    def best_threshold(self, pairs: Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]) -> float | None:
        """Return the threshold of the best mean Dice over logits and truths; None where masks have more outputs."""
        if self.outputs != 1:
            return None
        return best_threshold((self.probabilities(logits)[0, 0], truth[0]) for logits, truth in pairs())

    def read(self, p_KHW: torch.Tensor) -> torch.Tensor:
        """Return class indices (H, W), uint8: the most probable; of two classes the second above the threshold."""
        if self.outputs == 1:
            return (p_KHW[0] > self.threshold).to(torch.uint8)
        return p_KHW.argmax(dim=0).to(torch.uint8)


def make(train: Sequence[Example], recipe: DenseRecipe, settings: DenseTrainSettings) -> Segmentation:
    """Return the objective of a training."""
    target = next(iter(settings.targets.values()))
    balanced = recipe.class_weighting == "balanced"
    weight_C = class_weights(train, len(target.classes)) if balanced else None
    return Segmentation(target, weight_C, over_batch=recipe.over_batch)


def restored(spec: "DenseSpec") -> Segmentation:
    """Return the objective of a decoder's file, as predictions need it."""
    return Segmentation(next(iter(spec.targets.values())), outputs=spec.outputs, threshold=spec.threshold)


def check_outputs(path: Path, outputs: int, targets: Mapping[str, DenseTarget]) -> None:
    """Leave it to `restored` to compare a published decoder's outputs with the classes."""


def truth_of(sample: DenseSample, targets: Mapping[str, DenseTarget]) -> str | None:
    """Return what training uses of a sample's truth, as JSON has it: not, say, a second observer's mask."""
    return sample.mask_id


def has_truth(sample: DenseSample, targets: Mapping[str, DenseTarget]) -> bool:
    """Tell whether a sample has a mask."""
    return sample.mask_path is not None


def best_threshold(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the threshold of the best mean Dice over images, given as p_HW of the second class and its truth_HW.

    Images without truth and prediction count at no threshold; of equally good ones the nearest to 0.5 wins.
    """
    dice_IT = [[_dice(p_HW > threshold, truth_HW > 0) for threshold in THRESHOLDS] for p_HW, truth_HW in pairs]
    known_IT = np.array(dice_IT, np.float64).reshape(-1, len(THRESHOLDS))
    count_T = (~np.isnan(known_IT)).sum(axis=0)
    mean_T = np.where(count_T > 0, np.nansum(known_IT, axis=0) / np.maximum(count_T, 1), 0)
    return max(zip(THRESHOLDS, mean_T.tolist(), strict=True), key=lambda pair: (pair[1], -abs(pair[0] - 0.5)))[0]


def _dice(found_HW: torch.Tensor, truth_HW: torch.Tensor) -> float:
    total = int(found_HW.sum() + truth_HW.sum())
    return 2 * int((found_HW & truth_HW).sum()) / total if total else float("nan")


def class_weights(examples: Sequence[Example], classes: int) -> torch.Tensor:
    """Return the balanced weights of the classes over all pixels of the training masks."""
    pixels_C: npt.NDArray[np.int64] = np.zeros(classes, np.int64)
    for example in examples:
        if example.mask_HW is not None:
            pixels_C += np.bincount(example.mask_HW.reshape(-1), minlength=classes)
    return balanced_weights(torch.from_numpy(pixels_C))
