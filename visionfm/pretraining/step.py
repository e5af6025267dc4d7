"""One optimizer step of any family of recipes: losses over this process's micro-batches, gradients, the update.

A family is a subclass: its networks, what it makes of a micro-batch, what moves beside the student. Random numbers of a
forward pass come from (seed, step, number of the micro-batch), so that neither processes nor a resume change them.
Everything that is a mean over images is one over the whole effective batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from visionfm.encoders import anatomy
from visionfm.pretraining import optimisation
from visionfm.pretraining.crops import CropBatch, normalised
from visionfm.pretraining.networks import Backbone, Pair
from visionfm.pretraining.processes import Group
from visionfm.pretraining.recipe import Recipe
from visionfm.pretraining.schedules import Values
from visionfm.runtime.randomness import derived_seed

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Tensors = dict[str, torch.Tensor]


class Losses(NamedTuple):
    """Of a micro-batch of B images: the loss and the rest of the family's `sums`, summed over images; CLS tokens."""

    total: torch.Tensor
    parts: list[torch.Tensor]
    cls_BD: torch.Tensor


class Learned(NamedTuple):
    """Of one step: means over the effective batch by the names of `sums`, flags, and the CLS tokens seen here."""

    means: dict[str, float]
    flags: list[float]
    features_ND: torch.Tensor

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return all(value == value and abs(value) != float("inf") for value in self.means.values())


class Step(ABC):
    """What a step works with; `trained` is the student as the processes share it."""

    sums: ClassVar[tuple[str, ...]]  # columns of training.parquet: the loss, and what else is summed over images
    noted: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")  # schedules that are columns of it too
    finished: ClassVar[str] = "student"  # the network of the pair whose encoder comes out

    def __init__(
        self, pair: Pair, recipe: Recipe, group: Group, trained: nn.Module | None = None, *, sharded: bool = False
    ) -> None:
        """The networks are on the group's device; `trained` is the student itself where there is one process."""
        self.pair, self.recipe, self.group, self.sharded = pair, recipe, group, sharded
        self.trained = pair.student if trained is None else trained
        self.optimizer = optimisation.optimizer_of(
            pair.student, recipe, len(anatomy.blocks(pair.student.backbone.vit)), self.head_lr
        )
        half = recipe.precision == "fp16" and group.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=half)

    # --- what a family says ---------------------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def networks(vits: Sequence[nn.Module], recipe: Any, arch: str, images: int) -> Pair:
        """Return what is trained, and what gives targets, around two networks of equal weights."""

    @abstractmethod
    def _losses(self, given: Any, values: Values) -> Losses:
        """Return the losses of what `_prepared` yields."""

    def _prepared(self, passes: Sequence[CropBatch], _values: Values) -> Iterable[Any]:
        """Yield the micro-batches on the device, with what the family wants to know before any forward pass."""
        return (self._moved(crops) for crops in passes)

    def _before(self, values: Values) -> None:  # noqa: B027
        """Change gradients before the optimizer's step."""

    def _after(self, values: Values) -> None:  # noqa: B027
        """Move what follows the student."""

    def moving(self) -> Tensors:
        """Return what training moves beside the student, by names in a checkpoint."""
        return {}

    def take(self, tensors: Mapping[str, torch.Tensor]) -> None:  # noqa: B027
        """Set those of `moving` that `tensors` names."""

    @property
    def head_lr(self) -> float:
        """The learning rate of the head, in parts of lr."""
        return 1.0

    # --- what all share -------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> Backbone:
        """The network that comes out."""
        backbone: Backbone = getattr(self.pair, self.finished).backbone
        return backbone

    def learn(
        self, passes: Sequence[CropBatch], step: int, values: Values, batch: int, flags: Callable[[], list[float]]
    ) -> Learned:
        """Compute gradients of one step over `passes`, this process's share of a batch of `batch` images.

        `flags` are asked for at the end and added up over the processes, for what they have to decide together.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(len(self.sums), dtype=torch.float64, device=self.group.device)
        features = []
        for number, given in enumerate(self._prepared(passes, values)):
            torch.manual_seed(derived_seed(self.recipe.seed, "forward", step, self._number(number)))
            with self._exchange(last=number == len(passes) - 1):
                total, parts, cls_BD = self._losses(given, values)
                # Processes average their gradients: the sum over images / batch is meant.
                self.scaler.scale(total / batch * self.group.process.world).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack([part.detach().double() for part in (total, *parts)])
            features.append(cls_BD.detach().float())
        together = torch.cat([sums / batch, sums.new_tensor(flags())])
        together = self.group.all_reduce(together, "sum").cpu()
        means = dict(zip(self.sums, together[: len(self.sums)].tolist(), strict=True))
        return Learned(means, together[len(self.sums) :].tolist(), torch.cat(features).cpu())

    def update(self, values: Values) -> float:
        """Move the student by the gradients of `learn`, and what follows it; return the gradients' norm."""
        self.scaler.unscale_(self.optimizer)
        if self.sharded:
            self._average_replicated()
        norm = optimisation.clip_gradients(self.pair.student.parameters(), self.recipe)
        self._before(values)
        optimisation.set_values(self.optimizer, values)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._after(values)
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

    def _moved(self, crops: CropBatch) -> CropBatch:
        return crops if self.group.device.type == "cpu" else normalised(crops, self.group.device)

    def _autocast(self) -> torch.autocast:
        dtype = DTYPES[self.recipe.precision]
        on = dtype != torch.float32 and not (dtype == torch.float16 and self.group.device.type == "cpu")
        return torch.autocast(self.group.device.type, dtype if on else torch.bfloat16, enabled=on)
