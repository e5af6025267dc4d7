"""Signals become a flag inside the block, and what they were before outside it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from visionfm.errors import Stopped
from visionfm.runtime import interruption
from visionfm.runtime.interruption import STOP_SIGNALS, ignore_stop_signals, stop_on_signal


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_raises_the_flag_and_nothing_else(number: signal.Signals) -> None:
    with stop_on_signal() as stop:
        assert not stop()
        assert stop.signal_name == ""
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.signal_name == number.name


def test_the_first_signal_is_the_one_reported() -> None:
    with stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_name == "SIGUSR1"


def test_handlers_are_put_back_even_after_an_error() -> None:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    with pytest.raises(RuntimeError, match="inside"), stop_on_signal():
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
        raise RuntimeError("inside")
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == before


def test_blocks_nest_and_each_has_its_own_flag() -> None:
    with stop_on_signal() as outer:
        with stop_on_signal() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner()
        assert not outer()
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer()


def test_outside_the_main_thread_the_flag_stays_down() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_on_signal() as stop:
            seen.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_stopped_process_exits_with_75_and_one_that_ignores_signals_lives() -> None:
    script = (
        "import sys, time\n"
        "from visionfm.errors import Stopped\n"
        "from visionfm.runtime.interruption import stop_on_signal\n"
        "with stop_on_signal() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop():\n"
        "        time.sleep(0.01)\n"
        "    sys.exit(Stopped('stopped').exit_code)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == Stopped.exit_code == 75


def test_a_helper_process_lives_through_the_group_s_signals() -> None:
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)}
    try:
        ignore_stop_signals()
        for number in before:
            os.kill(os.getpid(), number)
        time.sleep(0.01)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_warning_that_comes_before_the_work_is_kept_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "_warned", False)
    monkeypatch.setattr(interruption, "_time_is_up", False)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        interruption.keep_warnings()
        os.kill(os.getpid(), signal.SIGUSR1)
        with stop_on_signal() as stop:
            assert stop() and stop.signal_name == "SIGUSR1"
        assert interruption.time_is_up()
    finally:
        signal.signal(signal.SIGUSR1, before)
