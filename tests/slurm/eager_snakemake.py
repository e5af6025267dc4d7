"""Snakemake whose SLURM executor asks the queue each second: `python eager_snakemake.py ARGUMENTS`.

As released, the executor waits 10 s longer after each question whose answer was "nothing has ended", and no setting
changes that. Only the pause is shortened here; what is asked and what follows from the answer are the executor's own.
"""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

PAUSE_S = 1


def shorten_pauses() -> None:
    """Let the executor's pause be PAUSE_S, whatever it sets it to."""
    if not isinstance(getattr(Executor, "next_seconds_between_status_checks", None), property):
        raise AttributeError("the SLURM executor paces its questions in another way now: see its `sleep`")
    Executor.next_seconds_between_status_checks = property(lambda executor: PAUSE_S, lambda executor, longer: None)


if __name__ == "__main__":
    shorten_pauses()
    main()
