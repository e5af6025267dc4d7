"""What every training of decoders is: epochs, the best of them, early stopping, and a state to go on from exactly.

All randomness of an epoch comes from (seed, epoch); hence a run that was stopped goes on bit for bit as if it had not
been.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from visionfm.errors import DataError, Stopped
from visionfm.runtime.interruption import StopFlag, stop_on_signal
from visionfm.runtime.randomness import derived_seed
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks.optimizers import AdamW, Optimizer
from visionfm.tasks.resume import State, StateFile, Tensors
from visionfm.tasks.settings import FitSettings

log = logging.getLogger("visionfm")


class Schedule(Protocol):
    """What a loop reads of a recipe."""

    @property
    def epochs(self) -> int:
        """How many epochs at most."""

    @property
    def patience(self) -> int | None:
        """Epochs without improvement before stopping; None: never stops early."""

    @property
    def selection(self) -> str:
        """What the best epoch is chosen by, on validation."""


class Epochs:
    """The epochs of one training: a row for each, the weights of the best, and what the optimizer remembers."""

    recipe: Schedule

    def __init__(self, recipe: Schedule, optimizer: Optimizer, seed: int) -> None:
        """No epoch is done."""
        self.recipe, self.optimizer, self.seed = recipe, optimizer, seed
        self.history: list[dict[str, Any]] = []
        self.best: Tensors = {}

    def goes_on(self) -> bool:
        """Tell whether there is an epoch to train: neither all done nor `patience` epochs without a better one."""
        done, patience = self.done, self.recipe.patience
        if done == 0 or patience is None or done >= self.recipe.epochs:
            return done < self.recipe.epochs
        return done - self.best_epoch < patience

    @property
    def done(self) -> int:
        """How many epochs are done; the row of a head trained alone, 0, is none."""
        return sum(row["epoch"] > 0 for row in self.history)

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, from 1; 0 where nothing is better than a head trained alone."""
        return int(max(row["epoch"] for row in self.history if row["best"]))

    def add(self, epoch: int, train_loss: float, scores: tuple[float, float], lr: float) -> bool:
        """Add the row of an epoch, counted from 0, with validation loss and score; tell whether it is the best."""
        for value in scores:
            check_finite(value, "validation", f"epoch {epoch + 1}")
        validation_loss, score = scores
        before = max((row["selection"] for row in self.history), default=-np.inf)
        # Ties: the published scores take the later epoch, a loss the earlier one.
        better = bool(score > before or (score == before and self.recipe.selection != "loss"))
        row = {"epoch": epoch + 1, "train_loss": train_loss, "validation_loss": validation_loss, "selection": score}
        self.history.append({**row, "lr": lr, "best": better})
        return better

    def moments(self) -> Tensors:
        """Return the optimizer's state as tensors by name, not copied."""
        entries = self.optimizer.state_dict()["state"].items()
        flat = [(f"{at}.{name}", value) for at, entry in entries for name, value in entry.items()]
        return {name: value for name, value in flat if value is not None}

    def take_up(self, state: State) -> None:
        """Go on from a state, but for the network's weights."""
        moments: dict[int, Tensors] = {}
        for name, value in state.optimizer.items():
            at, _, rest = name.partition(".")
            moments.setdefault(int(at), {})[rest] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.best, self.history = state.best, list(state.history)


class Loop(Epochs, ABC):
    """Epochs of a head; a subclass says what the steps of one are, and scores it."""

    network: nn.Module

    def __init__(self, network: nn.Module, recipe: Schedule, optimizer: Optimizer, seed: int) -> None:
        """No epoch is done."""
        super().__init__(recipe, optimizer, seed)
        self.network = network

    @abstractmethod
    def _lr(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""

    @abstractmethod
    def _steps(self, epoch: int) -> Iterator[tuple[int, Callable[[], torch.Tensor]]]:
        """Yield for each step how many samples it has, and what computes their mean loss."""

    @abstractmethod
    def _validate(self) -> tuple[float, float]:
        """Return the loss on the validation set, and the score of which the highest makes the best epoch."""

    def run(self, stop: StopFlag, file: StateFile | None = None, checkpoint_minutes: float = 10) -> None:
        """Train to the end, or raise Stopped with the state saved, as soon as `stop` says so.

        Afterwards `best` holds the weights of the best epoch, `history` a row per epoch.
        """
        saved_at = time.monotonic()
        while self.goes_on():
            before = self.state()
            if not self._epoch(stop):
                if file is not None:
                    file.save(before)
                raise Stopped(
                    f"train: stopped by {stop.signal_name} after epoch {len(self.history)}",
                    do="run the same command again; it goes on from there",
                )
            if file is not None and time.monotonic() - saved_at > 60 * checkpoint_minutes:
                file.save(self.state())
                saved_at = time.monotonic()

    def _epoch(self, stop: StopFlag) -> bool:
        """Train and score one epoch; False where a stop came first."""
        epoch = len(self.history)
        lr = self._lr(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(derived_seed(self.seed, "dropout", epoch))
        total, count = 0.0, 0
        self.network.train()
        for step, (samples, loss_of) in enumerate(self._steps(epoch)):
            if stop():
                return False
            self.optimizer.zero_grad()
            loss = loss_of()
            value = loss.item()
            check_finite(value, "training", f"epoch {epoch + 1}, step {step + 1}")
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total, count = total + value * samples, count + samples
        self._note(epoch, total / count, lr)
        return True

    def _note(self, epoch: int, train_loss: float, lr: float) -> None:
        if self.add(epoch, train_loss, self._validate(), lr):
            self.best = copied(self.network.state_dict())

    def state(self) -> State:
        """Return a copy of all that the next epochs depend on."""
        return State(copied(self.network.state_dict()), self.best, copied(self.moments()), list(self.history))

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state.model)
        self.take_up(state)


Run = TypeVar("Run", bound=Loop)


@contextmanager
def trained(start: Callable[[], Run], settings: FitSettings, threads: int, file: StateFile) -> Iterator[Run]:
    """Yield a training that came to its end, from where an earlier run stopped; the block computes as it did."""
    with reproducible(threads), stop_on_signal() as stop:
        torch.manual_seed(derived_seed(settings.seed, "start"))
        run = start()
        if (state := file.load(settings.device)) is not None:
            run.restore(state)
            log.info("train: goes on after epoch %d", state.epochs)
        run.run(stop, file, settings.checkpoint_minutes)
        yield run


def adamw(network: nn.Module, lr: float, weight_decay: float, decay_all: bool) -> Optimizer:
    """Return AdamW, which spares biases and norms the weight decay unless `decay_all`."""
    parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in network.parameters():
        parts[parameter.ndim < 2 and not decay_all].append(parameter)
    groups: list[dict[str, Any]] = [{"params": parts[0]}, {"params": parts[1], "weight_decay": 0.0}]
    return AdamW([group for group in groups if group["params"]], lr, weight_decay)


def check_finite(loss: float, which: str, where: str) -> None:
    """Raise DataError where the `training` or `validation` loss is not a number."""
    if not np.isfinite(loss):
        raise DataError(
            f"the {which} loss is not a finite number",
            expected="a finite loss",
            found=str(loss),
            where=where,
            do="lower the learning rate `lr`, or look for extreme features and targets; nothing was written",
        )


def copied(tensors: Tensors) -> Tensors:
    """Return tensors that later steps leave alone."""
    return {name: value.detach().clone() for name, value in tensors.items()}
