"""What a person sees while jobs run on this machine: each stage's own lines, and how far the whole run has come.

Snakemake tells of each job in some ten lines more (inputs, reason, resources). They stand in its log file all the same,
from which `ending` tells at the end what has failed; `-p` and `--verbose` show them here, too. The last line is the
ending's: where the report is, or what to do.
"""

import logging
from collections.abc import Iterable

from snakemake_interface_logger_plugins.common import LogEvent

NOT_SHOWN = {LogEvent.JOB_INFO, LogEvent.JOB_FINISHED, LogEvent.JOB_ERROR, LogEvent.SHELLCMD}
# The last is how a stage's own error comes back from its shell command, after the stage itself has printed it.
NOT_SAID = ("Select jobs to execute", "Execute ", "RuleException:\nCalledProcessError")
LAST = ("Complete log(s): ", "Elapsed time: ", "WorkflowError:\nAt least one job did not complete successfully")


def _for_people(record: logging.LogRecord) -> bool:
    return getattr(record, "event", None) not in NOT_SHOWN and not str(record.msg).startswith(NOT_SAID)


def _not_last(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(LAST)


def shorten(handlers: Iterable[logging.Handler], here: bool) -> None:
    """Leave what only a developer reads out of what these handlers write, but for log files.

    `here`: stages write to this terminal, too; of a cluster's jobs Snakemake's lines are all that is seen.
    """
    for handler in handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_not_last)
            if here:
                handler.addFilter(_for_people)
