"""Going back to the queue before the time limit: SLURM's USR1 becomes `scontrol requeue` of the stage's own job.

A requeued job keeps its id, so Snakemake goes on following it, and its retries are left for real faults.
"""

import logging
import os
import shutil
import subprocess
import time

ENDED_WITHIN_S = 300.0
log = logging.getLogger("visionfm")


def requeue_own_job() -> bool:
    """Ask SLURM to put this process's job back into the queue; then wait to be ended by it.

    Returns False where there is no job or the site forbids requeueing: the stage then ends with exit code 75, and a
    retry goes on from what was saved. Of several processes that torchrun started, the first one asks for all.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or shutil.which("scontrol") is None:
        return False
    if os.environ.get("RANK", "0") == "0":
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=120, check=False)
        if asked.returncode:
            log.warning(
                "job %s could not be requeued (%s): a retry goes on from here, unless they are used up",
                job,
                asked.stderr.strip(),
            )
            return False
        log.info("job %s goes back to the queue and on from here when it starts again", job)
    # Leaving by itself would look like a failure: to the other processes, and to Snakemake, which would remove outputs.
    time.sleep(ENDED_WITHIN_S)
    return True
