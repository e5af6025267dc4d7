"""A mend of Snakemake's SLURM executor (as of 2.8.0): a question that SLURM does not answer loses no job.

There, where each try of a question fails (a controller that restarts, a queue that hangs), the jobs asked about are
neither reported nor asked about again: Snakemake waits for ever. Here such a question says nothing of any job.
"""

import sys
from typing import Any

EXECUTOR = "snakemake_executor_plugin_slurm"


def hold_on_to_jobs() -> None:
    """Mend the executor where Snakemake has loaded it."""
    plugin: Any = sys.modules.get(EXECUTOR)
    ask = getattr(plugin, "query_job_status", None)
    if ask is None or getattr(ask, "holds_on", False):
        return

    async def asked(command: str, logger: Any) -> tuple[dict[str, str], float]:
        states, seconds = await ask(command, logger)
        if states is not None:
            return states, seconds
        logger.warning("SLURM does not say how the jobs are; they go on, and are asked about again.")
        return {}, 0.0

    asked.holds_on = True  # type: ignore[attr-defined]
    plugin.query_job_status = asked
