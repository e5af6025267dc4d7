"""What a terminal shows of a run: fewer lines than Snakemake's, and how long the run takes yet."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from visionfm.project import terminal

Say = Callable[..., str]


class Progress(logging.Formatter):
    """Snakemake's words for the steps that are done."""

    def format(self, record: logging.LogRecord) -> str:
        done = record.__dict__.get("done")
        return super().format(record) if done is None else f"{done} of {record.__dict__['total']} steps done"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def say(clock: list[float]) -> Say:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(Progress())
    terminal.shorten([handler], here=True)

    def shown(text: str = "", **about: object) -> str:
        written.seek(0)
        written.truncate()
        record = logging.makeLogRecord({"msg": text, **about})
        if handler.filter(record):
            handler.emit(record)
        return written.getvalue().strip()

    return shown


@pytest.mark.parametrize(
    ("seconds", "done", "left"),
    [
        (60, 4, "4 of 16 steps done, 3 min left at this pace"),
        (3 * 3600, 4, "4 of 16 steps done, 9.0 h left at this pace"),
        (60, 15, "15 of 16 steps done, 1 min left at this pace"),
        (60, 16, "16 of 16 steps done"),
        (60, 2, "2 of 16 steps done"),
        (10, 4, "4 of 16 steps done"),
    ],
)
def test_steps_that_are_done_say_how_long_the_others_take(
    say: Say, clock: list[float], seconds: float, done: int, left: str
) -> None:
    clock[0] = seconds
    assert say(event=LogEvent.PROGRESS, done=done, total=16) == left


def test_lines_for_developers_are_left_out(say: Say) -> None:
    assert say("Select jobs to execute...") == say("shell", event=LogEvent.SHELLCMD) == ""
    assert say("index: read 4") == "index: read 4"


def test_a_log_file_keeps_all(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    terminal.shorten([handler], here=True)
    assert handler.filter(logging.makeLogRecord({"msg": "Select jobs to execute..."})) and handler.formatter is None
    handler.close()


def test_where_nothing_is_to_be_done_the_page_of_before_is_named(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    targets: list[str] = []
    add = terminal.with_page(str(page), lambda: targets)

    def said(words: str) -> str:
        record = logging.makeLogRecord({"msg": words})
        assert add(record)
        return record.getMessage()

    assert said("Nothing to be done (all is there).") == "Nothing to be done (all is there)."  # of a task without one
    page.touch()
    assert said("Nothing to be done (all is there).").endswith(f"\nThe report: {page}")
    assert said("Job stats") == "Job stats"
    targets.append("results/datasets/oct/images.parquet")
    assert said("Nothing to be done").endswith("done")
