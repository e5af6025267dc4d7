"""A stage warned of its time limit puts its own job back into the queue."""

import argparse
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from visionfm import cli
from visionfm.errors import Stopped
from visionfm.runtime import interruption, scheduler
from visionfm.runtime.interruption import stop_on_signal


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A job whose `scontrol` notes requeueing and says when it runs, or refuses where the file `refuse` stands."""
    client = tmp_path / "scontrol"
    client.write_text(
        f"""#!/bin/sh
if [ -e {tmp_path}/refuse ]; then echo "not allowed" >&2; exit 1; fi
if [ "$1" = requeue ]; then echo "$@" >> {tmp_path}/asked; else cat {tmp_path}/times; fi
"""
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(scheduler, "ENDED_WITHIN_S", 0.0)
    monkeypatch.setattr(interruption, "_time_is_up", False)
    monkeypatch.setattr(interruption, "_warned", False)
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


def times(start: object, end: object) -> str:
    """Return what SLURM 22.05 says of a job, shortened."""
    return f"JobId=41 JobName=wrap SubmitTime=5 EligibleTime=5 StartTime={start} EndTime={end} Deadline=N/A Nodes=1\n"


def runs(
    job: Path, since_s: float, for_s: float, monkeypatch: pytest.MonkeyPatch, warn_s: int = 60, loading_s: float = 0
) -> None:
    """Let the job have begun so long ago, with a limit of so long, and its stage later; then begin to watch it."""
    started = int(time.time() - since_s)
    monkeypatch.setattr(scheduler, "STARTED_S", float(started + loading_s))
    (job / "times").write_text(times(started, started + int(for_s)))
    monkeypatch.setenv(scheduler.WARN_SECONDS, str(warn_s))
    interruption.keep_warnings()
    scheduler.watch_time_limit()


def warned_within(seconds: float) -> bool:
    """Return whether the flag of a stage rises."""
    end = time.monotonic() + seconds
    with stop_on_signal() as stop:
        while time.monotonic() < end and not stop():
            time.sleep(0.01)
        return stop()


def test_a_stage_is_warned_before_its_job_s_time_limit(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(job, since_s=595, for_s=660, monkeypatch=monkeypatch)  # in five seconds there are sixty left
    assert not warned_within(0.5)
    assert warned_within(20)
    assert interruption.time_is_up()


def test_a_stage_that_starts_when_it_should_have_been_warned_is(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(job, since_s=640, for_s=660, monkeypatch=monkeypatch)
    assert warned_within(20)


def test_a_short_time_limit_leaves_a_quarter_for_work(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(job, since_s=10, for_s=60, warn_s=300, monkeypatch=monkeypatch)
    assert not warned_within(1)
    assert warned_within(20)


def test_a_stage_that_took_long_to_load_has_a_quarter_of_what_is_left(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else it would go back to the queue for ever, with nothing done: it loaded for 40 s of its 60.
    runs(job, since_s=42, for_s=60, warn_s=45, monkeypatch=monkeypatch, loading_s=40)
    assert not warned_within(1)
    assert warned_within(20)


def test_without_a_time_limit_there_is_no_warning(job: Path) -> None:
    (job / "times").write_text(times(1790000000, "Unknown"))
    assert scheduler._ends("41") is None


def test_an_answer_that_is_not_understood_is_an_error(job: Path) -> None:
    (job / "times").write_text(times("2026-11-29T15:00:33", "2026-11-29T16:00:33"))
    with pytest.raises(subprocess.SubprocessError, match="EndTime=2026-11-29T16:00:33"):
        scheduler._ends("41")


def test_a_changed_time_limit_is_seen(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "ASK_AGAIN_S", 0.1)
    runs(job, since_s=600, for_s=6000, monkeypatch=monkeypatch)
    assert not warned_within(0.5)
    now = int(time.time())
    (job / "times").write_text(times(now - 600, now + 30))
    assert warned_within(20)


def test_a_controller_that_does_not_answer_is_told_and_asked_again(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (job / "refuse").touch()
    monkeypatch.setattr(scheduler, "ASK_AGAIN_FAILED_S", 0.1)
    with caplog.at_level(logging.WARNING):
        runs(job, since_s=640, for_s=660, monkeypatch=monkeypatch)
        assert not warned_within(0.5)
        (job / "refuse").unlink()
        assert warned_within(20)
    assert caplog.text.count("not allowed") == 1


def test_a_stage_that_a_person_started_in_a_job_is_left_alone(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(scheduler.WARN_SECONDS, raising=False)
    (job / "times").write_text(times(0, 1))
    interruption.keep_warnings()
    scheduler.watch_time_limit()
    assert not warned_within(0.5)
