"""What a person sees while jobs run: each stage's own lines, how far the whole run has come, and how long it takes yet.

Snakemake tells of each job in some ten lines more (inputs, reason, resources). They stand in its log file all the same,
from which `ending` tells at the end what has failed; `-p` and `--verbose` show them here, too. The last line is the
ending's: where the report is, or what to do.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

NOT_SHOWN = {LogEvent.JOB_INFO, LogEvent.JOB_FINISHED, LogEvent.JOB_ERROR, LogEvent.SHELLCMD}
# The last is how a stage's own error comes back from its shell command, after the stage itself has printed it.
NOT_SAID = ("Select jobs to execute", "Execute ", "RuleException:\nCalledProcessError")
FEWEST_STEPS, SOON_S = 3, 20  # before that, the pace says nothing
LAST = ("Complete log(s): ", "Elapsed time: ", "WorkflowError:\nAt least one job did not complete successfully")


def _for_people(record: logging.LogRecord) -> bool:
    return getattr(record, "event", None) not in NOT_SHOWN and not str(record.msg).startswith(NOT_SAID)


def _not_last(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(LAST)


def with_page(page: str, targets: Callable[[], object]) -> Callable[[logging.LogRecord], bool]:
    """Return a filter that adds where the page is to Snakemake's "Nothing to be done": no hook is called after it.

    Not where a person asked for some `targets` alone: the page may be of another config.
    """

    def add(record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Nothing to be done") and not targets() and Path(page).is_file():
            record.msg = f"{record.msg}\nThe report: {page}"
        return True

    return add


class _TimeLeft(logging.Formatter):
    """Says behind Snakemake's "5 of 16 steps done" how long the others take, if a step takes as long as those did."""

    def __init__(self, plain: logging.Formatter | None) -> None:
        super().__init__()
        self.plain, self.began = plain or logging.Formatter(), time.monotonic()

    def format(self, record: logging.LogRecord) -> str:
        text = self.plain.format(record)
        if getattr(record, "event", None) != LogEvent.PROGRESS:
            return text
        done, total = int(record.__dict__["done"]), int(record.__dict__["total"])
        took_s = time.monotonic() - self.began
        if done < FEWEST_STEPS or took_s < SOON_S or done == total:
            return text
        left_min = took_s / done * (total - done) / 60
        left = f"{left_min / 60:.1f} h" if left_min > 90 else f"{max(1, round(left_min))} min"
        return f"{text}, {left} left at this pace"


def shorten(handlers: Iterable[logging.Handler], here: bool) -> None:
    """Leave what only a developer reads out of what these handlers write, and add the time left; not in log files.

    `here`: stages write to this terminal, too; of a cluster's jobs Snakemake's lines are all that is seen.
    """
    for handler in handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_not_last)
            handler.setFormatter(_TimeLeft(handler.formatter))
            if here:
                handler.addFilter(_for_people)
