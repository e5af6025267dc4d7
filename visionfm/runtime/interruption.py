"""Ending in good order when a scheduler asks: SIGTERM (cancelled, preempted) and SIGUSR1 (time nearly up) set a flag.

Long stages look at the flag between batches, publish what they have and raise `errors.Stopped` (exit code 75); the same
command goes on from there. Invariant: the handlers found on entry are back on exit.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


_time_is_up = False
_warned = False


def keep_warnings() -> None:
    """Let a SIGUSR1 that comes while a stage still loads raise the flag once there is one; one after it counts too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _keep)


def _keep(_number: int, _frame: FrameType | None) -> None:
    global _warned
    _warned = True


def time_is_up() -> bool:
    """Return True once SIGUSR1 came: a warning before a time limit, not the wish to end the work."""
    return _time_is_up or _warned


class StopFlag:
    """Says whether a stop was asked for; call it between two pieces of work."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self._received: int | None = None

    def __call__(self) -> bool:
        """Return True once a signal has come."""
        return self._received is not None

    @property
    def signal_name(self) -> str:
        """The name of the first signal that came, such as `SIGTERM`; empty before."""
        return "" if self._received is None else signal.Signals(self._received).name

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received is None:
            global _time_is_up
            self._received = number
            _time_is_up = number == signal.SIGUSR1


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Turn SIGTERM and SIGUSR1 into a flag while the block runs.

    Outside the main thread, where Python allows no handlers, the flag never rises and the signals keep their meaning.

    >>> with stop_on_signal() as stop:
    ...     for step in range(3):
    ...         if stop():
    ...             break
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag._receive) for number in STOP_SIGNALS}
    if _warned:
        flag._receive(signal.SIGUSR1, None)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            # A handler that was not set from Python reads as None and cannot be put back: the default takes its place.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def ignore_stop_signals() -> None:
    """Let a helper process live through signals sent to its whole group: its parent decides when it ends."""
    for number in (*STOP_SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
