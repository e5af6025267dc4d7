"""A stage warned of its time limit puts its own job back into the queue."""

import argparse
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from visionfm import cli, interruption, scheduler
from visionfm.errors import Stopped
from visionfm.interruption import stop_on_signal


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A job whose `scontrol` notes what it is asked, and refuses where the file `refuse` stands beside it."""
    client = tmp_path / "scontrol"
    client.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/asked
if [ -e {tmp_path}/refuse ]; then echo "not allowed" >&2; exit 1; fi
"""
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(scheduler, "ENDED_WITHIN_S", 0.0)
    monkeypatch.setattr(interruption, "_time_is_up", False)
    before = signal.getsignal(signal.SIGUSR1)
    yield tmp_path
    signal.signal(signal.SIGUSR1, before)


def asked(job: Path) -> list[str]:
    return (job / "asked").read_text().splitlines() if (job / "asked").exists() else []


def stopped_by(number: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the exit code of a command that a signal stops."""

    class Stage:
        @staticmethod
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            pass

        @staticmethod
        def main(args: argparse.Namespace) -> None:
            with stop_on_signal() as stop:
                os.kill(os.getpid(), number)
                if stop():
                    raise Stopped("progress saved")

    monkeypatch.setattr(cli, "_load", lambda name: Stage)
    return cli.main(["doctor"])


def test_the_warning_before_a_time_limit_requeues(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stopped_by(signal.SIGUSR1, monkeypatch) == 75
    assert asked(job) == ["requeue 41"]


def test_being_ended_does_not(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stopped_by(signal.SIGTERM, monkeypatch) == 75
    assert asked(job) == []


def test_outside_a_job_the_warning_only_stops(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    assert stopped_by(signal.SIGUSR1, monkeypatch) == 75
    assert asked(job) == []


def test_a_refusal_is_told_and_left_to_retries(job: Path, caplog: pytest.LogCaptureFixture) -> None:
    (job / "refuse").touch()
    with caplog.at_level(logging.WARNING):
        assert not scheduler.requeue_own_job()
    assert "not allowed" in caplog.text


def test_one_process_of_several_asks(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert scheduler.requeue_own_job()
    assert asked(job) == []
