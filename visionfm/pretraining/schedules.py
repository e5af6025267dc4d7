"""What changes from step to step: learning rate, weight decay, momentum of the teacher, temperatures.

The published ones (docs/published-system.md, 3.6 and 3.7). Valid for any number of epochs: a warm-up that the published
code would refuse, because it is as long as the whole training or longer, becomes half of it.
"""

import math
from typing import NamedTuple

from visionfm.pretraining.recipe import DistillationRecipe, Recipe


class Values(NamedTuple):
    """The schedules at one step; temperatures and frozen are those of its epoch. The last four are of a teacher."""

    lr: float
    weight_decay: float
    momentum: float = 1.0
    teacher_temp: float = 1.0
    patch_temp: float = 1.0
    last_layer_frozen: bool = False


class Schedules:
    """All schedules of a run."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int, batch: int) -> None:
        """`batch` is the effective one: the learning rate is meant for 256 images."""
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        self.total = recipe.epochs * steps_per_epoch
        self.peak_lr = recipe.lr * batch / 256
        warmup = recipe.warmup_epochs * steps_per_epoch
        self.lr_warmup = warmup if warmup < self.total else self.total // 2
        if isinstance(recipe, DistillationRecipe):
            temp_warmup, frozen = recipe.temp_warmup_epochs, recipe.frozen_last_layer_epochs
            self.temp_warmup = temp_warmup if temp_warmup <= recipe.epochs else recipe.epochs // 2
            self.frozen = frozen if frozen < recipe.epochs else recipe.epochs // 2

    def at(self, step: int) -> Values:
        """Return the values of a step, counted from 0 over all epochs."""
        recipe, epoch = self.recipe, step // self.steps_per_epoch
        shared = self._lr(step), cosine(recipe.weight_decay, step, self.total)
        if not isinstance(recipe, DistillationRecipe):
            return Values(*shared)
        return Values(
            *shared,
            cosine(recipe.momentum, step, self.total),
            self._temperature(recipe.teacher_temp, epoch),
            self._temperature(recipe.patch_temp, epoch - recipe.mask_start_epoch),
            epoch < self.frozen,
        )

    def _lr(self, step: int) -> float:
        if step < self.lr_warmup:
            return self.peak_lr * step / max(1, self.lr_warmup - 1)
        return cosine([self.peak_lr, self.recipe.min_lr], step - self.lr_warmup, self.total - self.lr_warmup)

    def _temperature(self, ends: list[float], epoch: int) -> float:
        first, last = ends
        if epoch >= self.temp_warmup:
            return last
        return first + (last - first) * max(0, epoch) / max(1, self.temp_warmup - 1)


def cosine(ends: list[float], step: int, steps: int) -> float:
    """Return the value at a step of a half cosine from the first of `ends` towards the last, reached at `steps`."""
    first, last = ends
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * step / steps))
