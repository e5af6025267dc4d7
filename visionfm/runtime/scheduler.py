"""Going back to the queue before the time limit: a stage warns itself in time, and then requeues its own job.

SLURM could send the warning (`sbatch --signal`), but to every process of a job and up to half a minute early: one that
comes while a job's Snakemake still loads would end it. So the stage asks for the end of its job and raises SIGUSR1 in
itself. A requeued job keeps its id: Snakemake goes on following it, and its retries are left for real faults.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import threading
import time

WARN_SECONDS = "VISIONFM_WARN_SECONDS"  # set inside a job by workflow/rules/cluster.smk
ASK_AGAIN_S = 600.0  # time limits are changed now and then, while a job runs
ASK_AGAIN_FAILED_S = 60.0
ENDED_WITHIN_S = 300.0
STARTED_S = time.time()  # when this process loaded
log = logging.getLogger("visionfm")


def watch_time_limit() -> None:
    """Raise SIGUSR1 in this process, VISIONFM_WARN_SECONDS before its job's time limit.

    Never in the first quarter of the time that this process had when it started, so that every start gets something
    done, however long a busy node took to load it. Does nothing outside a job, or where the variable is not set: a
    stage that a person starts inside a job of their own.
    """
    job, warn_s = os.environ.get("SLURM_JOB_ID"), os.environ.get(WARN_SECONDS)
    if job is not None and warn_s is not None:
        threading.Thread(target=_watch, args=(job, float(warn_s)), name="time limit", daemon=True).start()


def _watch(job: str, warn_s: float) -> None:
    told = False
    while True:
        sleep_s = ASK_AGAIN_S
        try:
            if (end_s := _ends(job)) is not None:
                sleep_s = min(sleep_s, end_s - min(warn_s, 0.75 * (end_s - STARTED_S)) - time.time())
        except (OSError, subprocess.SubprocessError) as error:
            if not told:
                log.warning("the time limit of job %s is not known (%s): asked again each minute", job, _reason(error))
            told, sleep_s = True, ASK_AGAIN_FAILED_S
        if sleep_s <= 0:
            os.kill(os.getpid(), signal.SIGUSR1)
            return
        time.sleep(sleep_s)


def _ends(job: str) -> int | None:
    """Return when a job has to have ended, in seconds since 1970; None where there is no limit."""
    found = re.search(r" EndTime=(\S*)", _scontrol("--oneliner", "show", "job", job))
    end = found[1] if found else ""
    if end == "Unknown":
        return None
    if not end.isdecimal():
        raise subprocess.SubprocessError(f"scontrol gave no time in seconds: EndTime={end}")
    return int(end)


def requeue_own_job() -> bool:
    """Ask SLURM to put this process's job back into the queue; then wait to be ended by it.

    Returns False where there is no job or the site forbids requeueing: the stage then ends with exit code 75, and a
    retry goes on from what was saved. Of several processes that torchrun started, the first one asks for all.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or shutil.which("scontrol") is None:
        return False
    if os.environ.get("RANK", "0") == "0":
        try:
            _scontrol("requeue", job)
        except subprocess.SubprocessError as error:
            log.warning(
                "job %s could not be requeued (%s): a retry goes on from here, unless they are used up",
                job,
                _reason(error),
            )
            return False
        log.info("job %s goes back to the queue and on from here when it starts again", job)
    # Leaving by itself would look like a failure: to the other processes, and to Snakemake, which would remove outputs.
    time.sleep(ENDED_WITHIN_S)
    return True


def _scontrol(*arguments: str) -> str:
    """Return what `scontrol` prints, times in seconds since 1970; CalledProcessError or TimeoutExpired otherwise."""
    environment = os.environ | {"SLURM_TIME_FORMAT": "%s"}
    command = ["scontrol", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout


def _reason(error: Exception) -> str:
    """Return what a client command said, or what happened to it."""
    said = getattr(error, "stderr", None)
    return said.strip() if isinstance(said, str) and said.strip() else str(error)
