"""What a person sees while jobs run on this machine: each stage's own lines, and how far the whole run has come.

Snakemake tells of each job in some ten lines more (inputs, reason, resources). They stand in its log file all the same,
from which `ending` tells at the end what has failed; `-p` and `--verbose` show them here, too.
"""

import logging
from collections.abc import Iterable

from snakemake_interface_logger_plugins.common import LogEvent

NOT_SHOWN = {LogEvent.JOB_INFO, LogEvent.JOB_FINISHED, LogEvent.JOB_ERROR, LogEvent.SHELLCMD}
# The last is how a stage's own error comes back from its shell command, after the stage itself has printed it.
NOT_SAID = ("Select jobs to execute", "Execute ", "RuleException:\nCalledProcessError")


def _for_people(record: logging.LogRecord) -> bool:
    return getattr(record, "event", None) not in NOT_SHOWN and not str(record.msg).startswith(NOT_SAID)


def shorten(handlers: Iterable[logging.Handler]) -> None:
    """Leave what only a developer reads out of what these handlers write, but for log files."""
    for handler in handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_for_people)
