"""Progress says how much of the time was spent waiting for data."""

import logging

import pytest

from visionfm.runtime import progress
from visionfm.runtime.progress import Waits, track


def test_a_line_tells_the_share_of_waiting(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    caplog.set_level(logging.INFO)
    waits = Waits()
    given = list(track(waits.counted("abcd"), total=4, what="pretrain", waits=waits))
    assert given == list("abcd")
    assert waits.seconds == 50, "four items, and the end"
    # The clock is asked for at the start, then before and after each item, and by the line: 30 s for an item.
    assert "pretrain: 1 of 4 images, 0.0 images/s, 90 s left, 33 % waiting for images" in caplog.text


def test_without_it_nothing_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)
    assert list(track([1, 2], total=2, what="index")) == [1, 2]
    assert caplog.text.count("left") == 2 and "waiting" not in caplog.text
