"""What every training loop of decoders is: epochs, the best of them, early stopping, and a state to go on from exactly.

All randomness of an epoch comes from (seed, epoch); hence a run that was stopped goes on bit for bit as if it had not
been.
"""

import logging
import time
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from visionfm.errors import DataError, Stopped
from visionfm.runtime.interruption import StopFlag
from visionfm.tasks.resume import State, StateFile

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


class Loop(ABC):
    """Epochs over something; a subclass trains one in `_epoch`, notes it, and scores in `_validate`."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Schedule

    def __init__(self) -> None:
        """No epoch is done."""
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] = {}

    @abstractmethod
    def _epoch(self, stop: StopFlag) -> bool:
        """Train one epoch and note it; False where a stop came first."""

    @abstractmethod
    def _validate(self) -> tuple[float, float]:
        """Return the loss on the validation set, and the score of which the highest makes the best epoch."""

    def run(self, stop: StopFlag, file: StateFile | None = None, checkpoint_minutes: float = 10) -> None:
        """Train to the end, or raise Stopped with the state saved, as soon as `stop` says so.

        Afterwards `best` holds the weights of the best epoch, `history` a row per epoch.
        """
        saved_at = time.monotonic()
        while self.history_goes_on():
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

    def history_goes_on(self) -> bool:
        """Tell whether there is an epoch to train: neither all done nor `patience` epochs without a better one."""
        done = len(self.history)
        if done == 0 or self.recipe.patience is None:
            return done < self.recipe.epochs
        return done < self.recipe.epochs and done - self.best_epoch < self.recipe.patience

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, from 1."""
        return int(max(row["epoch"] for row in self.history if row["best"]))

    def _note(self, epoch: int, train_loss: float, lr: float) -> None:
        validation_loss, score = self._validate()
        for value in (validation_loss, score):
            check_finite(value, "validation", f"epoch {epoch + 1}")
        before = max((row["selection"] for row in self.history), default=-np.inf)
        # Ties: the published scores take the later epoch, a loss the earlier one.
        better = score > before or (score == before and self.recipe.selection != "loss")
        if better:
            self.best = _copy(self.network.state_dict())
        row = {"epoch": epoch + 1, "train_loss": train_loss, "validation_loss": validation_loss, "selection": score}
        self.history.append({**row, "lr": lr, "best": better})

    # --- state ------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return a copy of all that the next epochs depend on."""
        moments = self.optimizer.state_dict()["state"]
        flat = [(f"{at}.{name}", value) for at, entry in moments.items() for name, value in entry.items()]
        optimizer = {name: value.clone() for name, value in flat if value is not None}
        return State(_copy(self.network.state_dict()), self.best, optimizer, list(self.history))

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state.model)
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in state.optimizer.items():
            at, _, rest = name.partition(".")
            moments.setdefault(int(at), {})[rest] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.best, self.history = state.best, list(state.history)


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


def _copy(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}
