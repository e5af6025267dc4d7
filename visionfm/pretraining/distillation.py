"""Self-distillation (iBOT), the family of `published` and `modern`: a teacher that follows the student gives targets.

The student sees global crops with hidden patches, and local crops; its scores of prototypes are to be the teacher's,
between views and on hidden patches. Published system (docs/published-system.md), 3.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from visionfm.pretraining import loss, optimisation
from visionfm.pretraining.crops import CropBatch
from visionfm.pretraining.networks import Pair, Seen, Taught, pair_of
from visionfm.pretraining.recipe import DistillationRecipe
from visionfm.pretraining.schedules import Values
from visionfm.pretraining.step import Losses, Step, Tensors

Given = tuple[CropBatch, Taught, dict[str, torch.Tensor]]


class Distillation(Step):
    """A step of self-distillation."""

    recipe: DistillationRecipe
    sums = ("loss", "loss_cls", "loss_patch", "loss_koleo", "teacher_entropy", "agreement")
    noted = (*Step.noted, "momentum", "teacher_temp", "patch_temp")
    finished = "teacher"

    def __init__(self, pair: Pair, recipe: DistillationRecipe, *rest: Any, **more: Any) -> None:
        """Centres start at zero."""
        super().__init__(pair, recipe, *rest, **more)
        widths = {"cls": recipe.out_dim, "patch": recipe.patch_out_dim}
        self.centres = {
            kind: loss.Centre(width, recipe.centre_momentum, self.group.device) for kind, width in widths.items()
        }
        self.average = optimisation.MovingAverage(pair.student, pair.teacher)

    @staticmethod
    def networks(vits: Sequence[nn.Module], recipe: DistillationRecipe, _arch: str, _images: int) -> Pair:
        """Return student and teacher."""
        return pair_of(vits, recipe)

    def _before(self, values: Values) -> None:
        if values.last_layer_frozen:
            optimisation.hold_last_layer(self.pair.student)

    def _after(self, values: Values) -> None:
        self.average.move(values.momentum)
        if self.recipe.centring == "mean":
            for centre in self.centres.values():
                centre.move(self.group.all_reduce)

    def moving(self) -> Tensors:
        """Return the teacher's weights, and the centres."""
        teacher = {f"teacher.{name}": value for name, value in self.pair.teacher.state_dict().items()}
        return {**teacher, **{f"centre.{kind}": centre.mean_K for kind, centre in self.centres.items()}}

    def take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set those of `moving` that `tensors` names."""
        optimisation.restore(self.pair.teacher, "teacher", tensors)
        for kind, centre in self.centres.items():
            if (mean_K := tensors.get(f"centre.{kind}")) is not None:
                centre.mean_K = mean_K.to(self.group.device)

    # --- teacher ----------------------------------------------------------------------------------------------------

    def _prepared(self, passes: Sequence[CropBatch], values: Values) -> Iterable[Given]:
        """Yield the micro-batches, on the device, with what the teacher makes of them and the prototypes' biases."""
        temperatures = {"cls": values.teacher_temp, "patch": values.patch_temp}
        if self.recipe.centring == "mean":
            biases = {kind: self.centres[kind].bias(temperatures[kind]) for kind in temperatures}
            for crops in passes:
                moved = self._moved(crops)
                taught = self._teach(moved)
                self._note(taught)
                yield moved, taught, biases
            return
        # Sinkhorn-Knopp needs all of the step's tokens before the first target.
        taughts = [self._teach(self._moved(crops)) for crops in passes]
        head = self.pair.teacher.head
        with torch.no_grad():
            biases = {
                kind: loss.sinkhorn_bias(
                    layer, parts, temperatures[kind], self.recipe.sinkhorn_iterations, self.group.all_reduce
                )
                for kind, layer, parts in (
                    ("cls", head.last_layer, [taught.cls_BZ for taught in taughts]),
                    ("patch", head.last_layer2, [taught.hidden_MZ for taught in taughts]),
                )
            }
        for crops, taught in zip(passes, taughts, strict=True):
            yield self._moved(crops), taught, biases

    @torch.no_grad()
    def _teach(self, crops: CropBatch) -> Taught:
        with self._autocast():
            taught: Taught = self.pair.teacher(
                crops.global_CBchw.flatten(0, 1), hidden_places(crops), self.recipe.centring == "mean"
            )
        return taught

    @torch.no_grad()
    def _note(self, taught: Taught) -> None:
        """Add the teacher's scores to the centres: of a linear layer, the sum of scores is the scores of the sum."""
        assert taught.mean_BZ is not None
        head, count = self.pair.teacher.head, len(taught.cls_BZ)
        self.centres["cls"].add(head.last_layer(taught.cls_BZ.sum(dim=0, keepdim=True))[0], count)
        self.centres["patch"].add(head.last_layer2(taught.mean_BZ.sum(dim=0, keepdim=True))[0], count)

    # --- student ----------------------------------------------------------------------------------------------------

    def _losses(self, given: Given, values: Values) -> Losses:
        crops, taught, biases = given
        recipe, head = self.recipe, self.pair.teacher.head
        views, images = crops.global_CBchw.shape[:2]
        local = crops.local_CBchw
        with self._autocast():
            seen: Seen = self.trained(
                crops.global_CBchw.flatten(0, 1),
                crops.masks_CBPP.flatten(0, 1).flatten(1),
                hidden_places(crops),
                None if local is None else local.flatten(0, 1),
            )
        with torch.no_grad():
            target_NK = loss.targets(head.last_layer(taught.cls_BZ), biases["cls"], values.teacher_temp)
            target_MK = loss.targets(head.last_layer2(taught.hidden_MZ), biases["patch"], values.patch_temp)
        target_GBK, student_VBK = (scores.view(-1, images, scores.shape[1]) for scores in (target_NK, seen.cls_NK))
        cls = loss.views_loss(student_VBK, target_GBK, recipe.student_temp)
        weight_M = loss.patch_weights(crops.masks_CBPP.flatten(2))
        patch = loss.patches_loss(seen.patch_MK, target_MK, weight_M, recipe.student_temp)
        total = recipe.cls_weight * cls + recipe.patch_weight * patch
        koleo = torch.zeros_like(total)
        if recipe.koleo_weight:
            koleo = loss.koleo_loss(seen.cls_BD.view(views, images, -1))
            total = total + recipe.koleo_weight * koleo
        agreement = (target_GBK[0].argmax(dim=-1) == student_VBK[1].argmax(dim=-1)).sum()
        entropy = loss.entropy(target_GBK[0]).sum()
        return Losses(total, [cls, patch, koleo, entropy, agreement], taught.cls_BD[:images])


def hidden_places(crops: CropBatch) -> torch.Tensor:
    """Return the places of hidden patches in the flattened (G * B, N) tokens."""
    return crops.masks_CBPP.flatten().nonzero().flatten()
