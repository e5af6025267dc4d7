"""What a person reads when a run has ended: the results in a few lines, or what failed, why, and how to go on.

Snakemake tells a failure too, some hundred lines further up and once per attempt. Invariants: a job that a later
attempt finished is not among the failed ones; results are shown only where this run has made them or found them good.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from visionfm import artifacts
from visionfm.errors import VisionFMError

LINES_SHOWN = 12
STOPPED = "Terminating processes on user request"  # by Ctrl-C
log = logging.getLogger("visionfm")
_ERROR = re.compile(r"^ *Error in rule (?P<rule>\w+):\n(?P<about>(?: +.*\n)*)", re.MULTILINE)
_LOG = re.compile(
    r"^ *log: (?P<log>[^,\n]+?)(?:,[^\n]*)?(?: \(check log file\(s\) for error details\))?$", re.MULTILINE
)
_STEPS = re.compile(r"^(\d+ of \d+) steps \(\S+\) done$", re.MULTILINE)
_JOB = re.compile(r"^ *jobid: (?P<job>\d+)$", re.MULTILINE)


class Failure(NamedTuple):
    """A job that no attempt finished."""

    rule: str
    log: str  # empty where the rule has none


def show(summary: str, page: str, *snakemake_logs: Path) -> None:
    """Print the summary, and where the page is, where the run that wrote these logs came to its report.

    That it cannot be read is said, and is no failure of the run.
    """
    if not any("(Rule: report)" in _text(path) for path in snakemake_logs):
        return
    try:
        log.warning("\n%s\nThe report: %s", artifacts.read_text(summary), page)
    except VisionFMError as error:
        log.warning("the summary is not shown: %s", error)


def tell(*snakemake_logs: Path, shown: bool = False) -> None:
    """Say which jobs of the run that wrote these logs have failed, and whether it was stopped.

    `shown`: the stages have printed their own errors here, as they do on this machine, so that none is said twice.
    """
    said = "".join(map(_text, snakemake_logs))
    failures = failed(said)
    if STOPPED in said:
        after = failed(said.partition(STOPPED)[2])
        failures = [one for one in failures if one not in after or _failed_itself(Path(one.log))]
        steps = _STEPS.findall(said)
        done = f" after {steps[-1]} steps" if steps else ""
        log.warning(
            "\nStopped%s. What is finished stays, and what a stage had saved on its way; the same command goes on"
            " from there.",
            done,
        )
    if failures:
        log.error("%s\n\nSnakemake's log: %s", "\n".join(_lines(failures, shown)), ", ".join(map(str, snakemake_logs)))


def failed(said: str) -> list[Failure]:
    """Return the jobs that failed for good, in the order in which they did, from what Snakemake logged."""
    found: dict[Failure, tuple[int, set[str]]] = {}
    for match in _ERROR.finditer(said):
        about = match["about"]
        logs, jobs = _LOG.search(about), _JOB.search(about)
        failure = Failure(match["rule"], logs["log"] if logs else "")
        _, known = found.pop(failure, (0, set[str]()))
        found[failure] = (match.end(), known | ({jobs["job"]} if jobs else set()))
    return [failure for failure, (end, jobs) in found.items() if not _finished(said[end:], failure.rule, jobs)]


def _finished(said: str, rule: str, jobs: Iterable[str]) -> bool:
    return any(f"Finished jobid: {job} (Rule: {rule})" in said for job in jobs)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _lines(failures: list[Failure], shown: bool) -> Iterator[str]:
    jobs = "A job" if len(failures) == 1 else f"{len(failures)} jobs"
    yield f"\n{jobs} failed. What is finished stays; mend this and run the same command again: it goes on from there."
    for failure in failures:
        yield f"\n{failure.rule}: {failure.log or 'see above, it has no log'}"
        if failure.log and not (shown and _error(Path(failure.log))):
            yield from (f"  {line}" for line in _why(Path(failure.log)))


def _error(path: Path) -> list[str]:
    """Return the last error in a stage's log; none where it ended without one, or has written no log."""
    lines = _text(path).splitlines() if path.is_file() else []
    errors = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    return lines[errors[-1] :] if errors else []


def _failed_itself(path: Path) -> bool:
    """Tell whether a stage of a run that was stopped had failed by itself, not because it was stopped, too."""
    return bool(error := _error(path)) and "stopped by " not in error[0]


def _why(path: Path) -> list[str]:
    """Return the error in a stage's log, or its last lines where it ended without one."""
    if not path.is_file():
        return ["(no log was written: it failed before the stage began)"]
    shown = _error(path) or _text(path).splitlines()[-3:]
    more = len(shown) - LINES_SHOWN
    return shown if more <= 0 else [*shown[:LINES_SHOWN], f"... {more} more lines"]
