"""The cluster's own faults: a controller that restarts, a queue that does not answer. Jobs and Snakemake go on."""

import shlex
import time
from collections.abc import Callable

import pytest
from cluster_run import SHARDS, Run, assert_same, slow_extraction

NO_ANSWER_S = 70  # the executor gives up a question after 60 s


@pytest.mark.slow
def test_a_controller_that_restarts_costs_nothing(project: Callable[..., Run], clean_shards: Run) -> None:
    run = project(slow_extraction)
    run.note_starts(warm=False)
    process = run.start(*SHARDS)
    run.until("a shard is encoded", lambda: run.running("extract") and run.starts("extract"))
    run.cluster.end("slurmctld")
    assert not run.cluster.jobs()  # nobody answers
    time.sleep(15)
    run.cluster.start_controller()
    assert process.wait() == 0, run.said[-6000:]
    assert {job["JobState"] for job in run.jobs()} == {"COMPLETED"}
    assert [job["Restarts"] for job in run.jobs("extract")] == ["0", "0"]
    assert len(run.starts("extract")) == 2  # nothing was started twice
    assert_same(run.results(), clean_shards.results())


@pytest.mark.slow
def test_a_queue_that_hangs_or_says_nothing_for_a_minute_is_asked_again(
    project: Callable[..., Run], clean_shards: Run
) -> None:
    run = project(slow_extraction)
    run.note_starts(warm=False)
    hangs, says_nothing, asked = (run.folder / name for name in ("hangs", "says_nothing", "asked"))
    squeue = run.folder / "bin/squeue"  # Snakemake's own; the test asks the real one
    squeue.write_text(
        "#!/bin/sh\n"
        f"if [ -e {hangs} ]; then echo hung >> {asked}; exec sleep {NO_ANSWER_S}; fi\n"
        f"if [ -e {says_nothing} ]; then echo silent >> {asked}; exit 0; fi\n"
        f'exec {shlex.quote(str(run.cluster.folder / "bin/squeue"))} "$@"\n'
    )
    squeue.chmod(0o755)
    process = run.start(*SHARDS)
    run.until("a shard is encoded", lambda: run.running("extract") and run.starts("extract"))
    hangs.touch()
    run.until("a question hangs", asked.exists)
    hangs.unlink()
    run.until("the hung question is given up, the next one is answered", lambda: asked.read_text().count("hung") == 1)
    says_nothing.touch()
    run.until("a question gets no answer", lambda: "silent" in asked.read_text(), NO_ANSWER_S + 60)
    time.sleep(60)
    says_nothing.unlink()
    assert process.wait() == 0, run.said[-6000:]
    assert {job["JobState"] for job in run.jobs()} == {"COMPLETED"}
    assert len(run.starts("extract")) == 2
    assert_same(run.results(), clean_shards.results())
