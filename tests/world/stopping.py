"""Signals that reach a stage while it works."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from visionfm.errors import Stopped
from visionfm.tasks.vectors.training import Training


class AfterSteps:
    """A stop flag, in the place of `stop_on_signal`: set once it was asked so many times."""

    signal_name = "SIGTERM"

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0

    def __enter__(self) -> "AfterSteps":
        return self

    def __exit__(self, *_: object) -> None: ...


@contextmanager
def signalled(after_epoch: int, number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What trains inside gets a signal after an epoch, counted from 0, and has to stop by it."""
    note = Training._note

    def note_then_signal(self: Training, epoch: int, *rest: float) -> None:
        note(self, epoch, *rest)
        if epoch == after_epoch:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch, pytest.raises(Stopped, match=signal.Signals(number).name):
        patch.setattr(Training, "_note", note_then_signal)
        yield
