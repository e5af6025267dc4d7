"""One optimizer step: the teacher's targets, the student's losses over this process's micro-batches, the update.

Random numbers of a forward pass come from (seed, step, number of the micro-batch), so that neither processes nor a
resume change them. Everything that is a mean over images is one over the whole effective batch.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from visionfm.pretraining import loss, optimisation
from visionfm.pretraining.block import Recipe
from visionfm.pretraining.crops import CropBatch
from visionfm.pretraining.networks import Pair, Seen, Taught
from visionfm.pretraining.processes import Group
from visionfm.pretraining.schedules import Values
from visionfm.runtime.randomness import derived_seed

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SUMS = ("loss", "loss_cls", "loss_patch", "loss_koleo", "teacher_entropy", "agreement")


class Learned(NamedTuple):
    """Of one step: means over the effective batch by SUMS' names, flags, and the CLS features seen here."""

    means: dict[str, float]
    flags: list[float]
    features_ND: torch.Tensor

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return all(value == value and abs(value) != float("inf") for value in self.means.values())


@dataclass
class Step:
    """What a step works with; `trained` is the student as the processes share it."""

    pair: Pair
    trained: nn.Module
    recipe: Recipe
    group: Group
    optimizer: torch.optim.Optimizer
    centres: dict[str, loss.Centre]
    average: optimisation.MovingAverage
    scaler: torch.amp.GradScaler
    sharded: bool = False

    def learn(
        self, passes: Sequence[CropBatch], step: int, values: Values, batch: int, flags: Callable[[], list[float]]
    ) -> Learned:
        """Compute gradients of one step over `passes`, this process's share of a batch of `batch` images.

        `flags` are asked for at the end and added up over the processes, for what they have to decide together.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=self.group.device)
        features = []
        for number, (crops, taught, biases) in enumerate(self._taught(passes, values)):
            torch.manual_seed(derived_seed(self.recipe.seed, "forward", step, self._number(number)))
            with self._exchange(last=number == len(passes) - 1):
                total, parts = self._losses(crops, taught, biases, values)
                # Processes average their gradients: the sum over images / batch is meant.
                self.scaler.scale(total / batch * self.group.process.world).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack([part.detach().double() for part in (total, *parts)])
            features.append(taught.cls_BD[: crops.global_CBchw.shape[1]].float())
        together = torch.cat([sums / batch, sums.new_tensor(flags())])
        together = self.group.all_reduce(together, "sum").cpu()
        means = dict(zip(SUMS, together[: len(SUMS)].tolist(), strict=True))
        return Learned(means, together[len(SUMS) :].tolist(), torch.cat(features).cpu())

    def update(self, values: Values) -> float:
        """Move student, teacher and centres by the gradients of `learn`; return the gradients' norm."""
        self.scaler.unscale_(self.optimizer)
        if self.sharded:
            self._average_replicated()
        norm = optimisation.clip_gradients(self.pair.student.parameters(), self.recipe)
        if values.last_layer_frozen:
            optimisation.hold_last_layer(self.pair.student)
        optimisation.set_values(self.optimizer, values)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.move(values.momentum)
        if self.recipe.centring == "mean":
            for centre in self.centres.values():
                centre.move(self.group.all_reduce)
        return norm

    def _number(self, number: int) -> int:
        """Return which micro-batch of the step the process's next one is."""
        return self.group.process.rank + number * self.group.process.world

    def _exchange(self, *, last: bool) -> AbstractContextManager[Any]:
        """Let the processes exchange gradients with the last backward pass only."""
        if last or self.group.alone or self.sharded:
            return nullcontext()
        return self.trained.no_sync()  # type: ignore[no-any-return, operator]

    def _average_replicated(self) -> None:
        for parameter in self.pair.student.parameters():
            if parameter.grad is not None and not hasattr(parameter, "device_mesh"):
                self.group.all_reduce(parameter.grad, "sum")
                parameter.grad /= self.group.process.world

    # --- teacher ----------------------------------------------------------------------------------------------------

    def _taught(
        self, passes: Sequence[CropBatch], values: Values
    ) -> Iterable[tuple[CropBatch, Taught, dict[str, torch.Tensor]]]:
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

    def _moved(self, crops: CropBatch) -> CropBatch:
        device = self.group.device
        if device.type == "cpu":
            return crops

        def there(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.pin_memory().to(device, non_blocking=True)

        local = None if crops.local_CBchw is None else there(crops.local_CBchw)
        return CropBatch(there(crops.global_CBchw), local, there(crops.masks_CBPP), crops.at_B)

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

    def _autocast(self) -> torch.autocast:
        dtype = DTYPES[self.recipe.precision]
        on = dtype != torch.float32 and not (dtype == torch.float16 and self.group.device.type == "cpu")
        return torch.autocast(self.group.device.type, dtype if on else torch.bfloat16, enabled=on)

    # --- student ----------------------------------------------------------------------------------------------------

    def _losses(
        self, crops: CropBatch, taught: Taught, biases: dict[str, torch.Tensor], values: Values
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the loss summed over the micro-batch's images, and the rest of SUMS."""
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
        return total, [cls, patch, koleo, entropy, agreement]


def hidden_places(crops: CropBatch) -> torch.Tensor:
    """Return the places of hidden patches in the flattened (G * B, N) tokens."""
    return crops.masks_CBPP.flatten().nonzero().flatten()
