"""Task kind `classification`: binary, multiclass and multilabel targets, several at once, each with its weight.

Loss = sum over targets of weight x mean loss: cross entropy for multiclass, binary cross entropy for binary, the mean
over classes of it for multilabel. Unknown labels (NaN) contribute 0. The published 13 values are eight binary targets
after one multiclass.
Shapes: B batch, N samples, K outputs, T label columns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from visionfm.errors import DataError
from visionfm.tasks.classification import is_single
from visionfm.tasks.settings import TargetSpec, VectorFitSettings
from visionfm.tasks.slots import Slot, slots
from visionfm.tasks.vectors.objective import Prediction
from visionfm.tasks.vectors.recipe import HeadRecipe, sound

Floats = npt.NDArray[np.float64]
PUBLISHED_HEAD = "ClsHead"


class Classification:
    """Losses, selection scores and predictions of classification targets."""

    def __init__(self, targets: Mapping[str, TargetSpec], recipe: HeadRecipe, truth_NT: Floats, single: bool) -> None:
        """`truth_NT` are the training labels; `single` marks the published task whose F1 is over both classes."""
        self.slots = slots(targets)
        self.recipe = recipe
        self.single = single
        self.weights = {slot.name: self._class_weights(slot, truth_NT[:, slot.labels]) for slot in self.slots}
        self.known_T = _known(truth_NT)

    def constants(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return nothing: a class needs no unit."""
        return {}

    def loss(self, outputs_BK: torch.Tensor, truth_BT: torch.Tensor, known_T: Floats | None = None) -> torch.Tensor:
        """Return the loss of a batch.

        A sum over the batch is divided by B x the known fraction: of the training set (an unbiased mean over the
        known), or `known_T`. The published recipe divides by B alone, as PyTorch's mean over soft targets does.
        """
        smoothing = self.recipe.label_smoothing if known_T is None else 0.0
        known_T = self.known_T if known_T is None else known_T
        shares_T = np.where((known_T > 0) & (self.recipe.mean_over == "known"), known_T, 1)
        total = outputs_BK.new_zeros(())
        for slot in self.slots:
            losses_BT = self._losses(slot, outputs_BK[:, slot.outputs], truth_BT[:, slot.labels], smoothing)
            share_T = torch.tensor(shares_T[slot.labels], dtype=losses_BT.dtype, device=losses_BT.device)
            total = total + slot.target.weight * (losses_BT.mean(0) / share_T).mean()
        return total

    def _losses(self, slot: Slot, outputs_BK: torch.Tensor, truth_BT: torch.Tensor, smoothing: float) -> torch.Tensor:
        known_BT = ~truth_BT.isnan()
        truth_BT = torch.where(known_BT, truth_BT, torch.zeros_like(truth_BT))
        weights = self.weights[slot.name].to(outputs_BK)
        if slot.target.type == "multiclass":
            classes_B = truth_BT[:, 0].long()
            # Picking by comparison: backward of an index is not deterministic on every device.
            hot_BK = classes_B.unsqueeze(1) == torch.arange(len(weights), device=classes_B.device)
            target_BK = hot_BK * (1 - smoothing) + smoothing / len(weights)
            losses_BT = -(outputs_BK.log_softmax(1) * target_BK * weights).sum(1, keepdim=True)
        else:
            target_BT = truth_BT * (1 - smoothing) + smoothing / 2
            losses_BT = functional.binary_cross_entropy_with_logits(outputs_BK, target_BT, reduction="none")
            losses_BT = losses_BT * torch.where(truth_BT > 0, weights[:, 1], weights[:, 0])
        return losses_BT * known_BT

    def _class_weights(self, slot: Slot, truth_NT: Floats) -> torch.Tensor:
        """Return weights (classes) of a multiclass target, else (columns, 2) of negatives and positives.

        `balanced`: known samples / (classes that occur x samples of the class), as scikit-learn has it.
        """
        count = len(slot.target.classes) if slot.target.type == "multiclass" else 2
        rows = [_balanced(column_N, count) for column_N in truth_NT.T]
        weights = torch.tensor(np.stack(rows), dtype=torch.float32)
        if self.recipe.class_weighting == "none":
            weights = torch.ones_like(weights)
        return weights[0] if slot.target.type == "multiclass" else weights

    def score(self, outputs_NK: torch.Tensor, truth_NT: torch.Tensor) -> tuple[float, float]:
        """Return (loss, score) on a whole validation set; the epoch with the highest score is the best."""
        loss = float(self.loss(outputs_NK, truth_NT, _known(truth_NT.double().cpu().numpy())))
        if self.recipe.selection == "loss":
            return loss, -loss
        outputs = outputs_NK.double().cpu().numpy()
        truth = truth_NT.double().cpu().numpy()
        of_slot = self._auroc if self.recipe.selection == "auroc" else self._f1
        scores = [of_slot(slot, outputs[:, slot.outputs], truth[:, slot.labels]) for slot in self.slots]
        return loss, float(np.mean(np.concatenate(scores)))

    def _f1(self, slot: Slot, outputs_NK: Floats, truth_NT: Floats) -> Floats:
        """Return F1 as published (published system, 6.1, 6.2), one per binary decision, over known labels."""
        if slot.target.type == "multiclass":
            known_N = ~np.isnan(truth_NT[:, 0])
            truth_N, chosen_N = truth_NT[known_N, 0], outputs_NK[known_N].argmax(1)
            present = np.union1d(truth_N, chosen_N)[1:]
            return np.array([np.mean([f1(truth_N == c, chosen_N == c) for c in present]) if len(present) else 0.0])
        scores = []
        for column, logits_N in zip(truth_NT.T, outputs_NK.T, strict=True):
            known_N = ~np.isnan(column)
            truth_N, chosen_N = column[known_N] > 0, logits_N[known_N] > 0
            both = [f1(truth_N, chosen_N), f1(~truth_N, ~chosen_N)]
            scores.append(np.mean(both) if self.single else both[0])
        return np.array(scores)

    def _auroc(self, slot: Slot, outputs_NK: Floats, truth_NT: Floats) -> Floats:
        """Return AUROCs, one against the rest in a multiclass target, of the classes that validation can rank."""
        columns_NK = truth_NT
        if slot.target.type == "multiclass":
            classes_K = np.arange(len(slot.target.classes))
            columns_NK = np.where(np.isnan(truth_NT), np.nan, truth_NT == classes_K)
            outputs_NK = torch.from_numpy(outputs_NK).softmax(1).numpy()
        scores = []
        for column_N, score_N in zip(columns_NK.T, outputs_NK.T, strict=True):
            truth_N, known_N = column_N[~np.isnan(column_N)], score_N[~np.isnan(column_N)]
            if 0 < truth_N.sum() < len(truth_N):
                scores.append(auroc(truth_N > 0, known_N))
        if not scores:
            raise DataError(
                f"validation cannot choose an epoch by the AUROC of {slot.name}",
                expected="validation samples of two classes",
                found="one class",
                do="give the dataset's split a larger `validation`, or stratify it by the target",
            )
        return np.array([np.mean(scores)])

    def finish(self, outputs: Callable[[], torch.Tensor], truth_NT: torch.Tensor) -> None:
        """Take nothing more from the training samples."""

    def predict(self, outputs_NK: torch.Tensor) -> list[Prediction]:
        """Return probabilities: (N, 1) a binary decision, (N, classes) a multiclass target."""
        found = []
        for slot in self.slots:
            logits_NK = outputs_NK[:, slot.outputs].double().cpu()
            if slot.target.type == "multiclass":
                found.append(Prediction(slot, None, slot.labels.start, logits_NK.softmax(1).numpy()))
                continue
            names = slot.target.classes if slot.target.type == "multilabel" else [None]
            for at, name in enumerate(names):
                found.append(Prediction(slot, name, slot.labels.start + at, logits_NK[:, [at]].sigmoid().numpy()))
        return found


def make(settings: VectorFitSettings, recipe: HeadRecipe, truth_NT: Floats) -> Classification:
    """Return the objective of a training, whose labels are `truth_NT`."""
    single = is_single(settings.targets.values(), settings.modalities)
    return Classification(settings.targets, recipe, truth_NT, single)


def restored(targets: Mapping[str, TargetSpec], constants: Mapping[str, npt.NDArray[Any]]) -> Classification:
    """Return the objective of a decoder's file, as predictions need it."""
    unknown = np.full((1, sum(len(target.classes) or 1 for target in targets.values())), np.nan)
    return Classification(targets, sound(), unknown, single=False)


def f1(truth_N: npt.NDArray[np.bool_], chosen_N: npt.NDArray[np.bool_]) -> float:
    """Return 2 TP / (2 TP + FP + FN), 0 where nothing is true or chosen."""
    marked = int(truth_N.sum() + chosen_N.sum())
    return 2 * int((truth_N & chosen_N).sum()) / marked if marked else 0.0


def auroc(truth_N: npt.NDArray[np.bool_], score_N: Floats) -> float:
    """Return the chance that a case scores higher than a non-case, ties counting half."""
    from scipy.stats import rankdata

    ranks_N, cases = rankdata(score_N), int(truth_N.sum())
    above = float(ranks_N[truth_N].sum()) - cases * (cases + 1) / 2
    return above / (cases * (len(truth_N) - cases))


def _known(truth_NT: Floats) -> Floats:
    """Return the fraction of known labels per column."""
    return np.asarray((~np.isnan(truth_NT)).mean(axis=0))


def _balanced(column_N: Floats, classes: int) -> Floats:
    counts = np.bincount(column_N[~np.isnan(column_N)].astype(np.int64), minlength=classes)
    if not counts.any():
        return np.ones(classes)
    weights: Floats = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1.0))
    return weights
