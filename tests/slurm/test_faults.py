"""Jobs warned, preempted, requeued or lost, a Snakemake that is killed: the work goes on and the bytes are the same."""

import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cluster_run import SHARDS, Run, assert_same, slow_extraction

ENCODER = "results/encoders/oct/encoder.safetensors"
ONCE = pytest.param(1, id="once")
TWENTY = pytest.param(20, id="twenty-times", marks=pytest.mark.slow)


def training_of(seconds: float, clean: Run) -> Callable[[dict[str, Any]], None]:
    """Lengthen the training to so many seconds, as fast as this machine has trained at its fastest."""
    images = int(re.findall(r"pretrain: ([\d,]+) images", clean.log("pretrain/oct.log"))[-1])
    rate = max(float(rate) for rate in re.findall(r"([\d.]+) images/s", clean.log("pretrain/oct.log")))
    epochs = max(5, round(seconds * rate / images))

    def change(config: dict[str, Any]) -> None:
        config["encoders"]["oct"]["pretrain"].update(epochs=epochs)

    return change


@contextmanager
def meanwhile_local(run: Run, target: str) -> Iterator[None]:
    """Run the same locally and uninterrupted, while the block runs; a queue leaves the cores idle anyway."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run.local(target)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failed, failed


def restarts(job: dict[str, str]) -> int:
    return int(job["Restarts"])


def test_a_training_longer_than_its_time_limit_goes_back_to_the_queue_until_it_is_done(
    project: Callable[..., Run], clean: Run
) -> None:
    # It warns itself some 30 s after each start: two such stretches are too short for it, even where the machine was
    # busier as its speed was measured. What is left is done without a limit, so that a slow machine does not have to go
    # back to the queue many times.
    long = training_of(180, clean)
    run, uninterrupted = project(long), project(long)
    run.configure(lambda config: config["encoders"]["oct"]["pretrain"]["resources"].update(runtime=2))
    with meanwhile_local(uninterrupted, ENCODER):
        process = run.start("--retries", "1", ENCODER, warn_seconds=90)
        run.until("it went back twice", lambda: any(restarts(job) >= 2 for job in run.jobs("pretrain")))
        run.until("it saved something", lambda: checkpoints(run))
        run.cluster.ask("scontrol", "update", f"jobid={run.jobs('pretrain')[0]['JobId']}", "timelimit=60")
        assert process.wait() == 0, run.said[-6000:]
    assert len(run.jobs("pretrain")) == 1, run.said  # one submission: no retry was used
    (job,) = run.jobs("pretrain")
    assert job["JobState"] == "COMPLETED"
    assert restarts(job) >= 2
    assert "goes on after step" in run.log("pretrain/oct.log")
    assert_same(run.results(), uninterrupted.results())


@pytest.mark.parametrize("times", [ONCE, TWENTY])
def test_a_training_sent_back_to_the_queue_goes_on(project: Callable[..., Run], clean: Run, times: int) -> None:
    long = training_of(25 * times, clean)
    run, uninterrupted = project(long), project(long)
    with meanwhile_local(uninterrupted, ENCODER):
        process = run.start(ENCODER, timeout_s=1200 * times)
        for _ in range(times):
            run.until("it trains", lambda: run.running("pretrain") and checkpoints(run))
            before = restarts(run.jobs("pretrain")[0])
            node = run.jobs("pretrain")[0]["NodeList"]
            # Someone else's urgent job wants the whole node.
            urgent = ["sbatch", "-p", "urgent", "-w", node, "-c", "8", "-o", "/dev/null", "--wrap", "sleep 1"]
            assert run.cluster.ask(*urgent)
            run.until("the job was preempted", lambda n=before: restarts(run.jobs("pretrain")[0]) == n + 1)
            run.until("it goes on", lambda: run.running("pretrain") and resumed(run))
            run.cluster.ask("scontrol", "requeue", run.jobs("pretrain")[0]["JobId"])
            run.until("the job was requeued", lambda n=before: restarts(run.jobs("pretrain")[0]) == n + 2)
            (run.folder / "results/logs/pretrain/oct.log").unlink()
            run.until("it goes on again", lambda: run.running("pretrain") and resumed(run))
            run.cluster.ask("scancel", "--signal=USR1", run.jobs("pretrain")[0]["JobId"])
            run.until("the job requeued itself", lambda n=before: restarts(run.jobs("pretrain")[0]) == n + 3)
        assert process.wait() == 0, run.said[-4000:]
    (job,) = run.jobs("pretrain")
    assert job["JobState"] == "COMPLETED"
    assert resumed(run)
    assert_same(run.results(), uninterrupted.results())


def checkpoints(run: Run) -> list[Any]:
    return list(run.folder.glob("results/**/pretraining/*/*.safetensors"))


def resumed(run: Run) -> bool:
    return "goes on after step" in run.log("pretrain/oct.log")


def test_a_lost_node_costs_its_shard_alone_which_is_done_elsewhere(
    project: Callable[..., Run], clean_shards: Run
) -> None:
    run = project(slow_extraction)
    run.note_starts(warm=False)
    process = run.start(*SHARDS)

    def both() -> list[dict[str, str]]:
        jobs = [job for job in run.jobs("extract") if job["JobState"] == "RUNNING"]
        return jobs if len(jobs) == 2 and len(run.starts("extract")) == 2 else []

    lost, kept = run.until("both shards are encoded", both)
    assert lost["NodeList"] != kept["NodeList"]
    run.cluster.lose_node(lost["NodeList"])
    assert process.wait() == 0, run.said[-4000:]
    after = {job["JobId"]: job for job in run.jobs("extract")}
    assert (restarts(after[kept["JobId"]]), restarts(after[lost["JobId"]])) == (0, 1)
    assert after[lost["JobId"]]["NodeList"] not in ("", lost["NodeList"])
    assert len(run.starts("extract")) == 3
    assert_same(run.results(), clean_shards.results())


@pytest.mark.parametrize("times", [ONCE, TWENTY])
def test_a_killed_snakemake_starts_again_beside_its_orphans(
    project: Callable[..., Run], clean_shards: Run, times: int
) -> None:
    for number in range(times):
        run = project(slow_extraction)
        killed = run.start(*SHARDS)
        run.until("a shard is encoded", lambda run=run: run.running("extract"))
        time.sleep(random.Random(number).uniform(0, 10) if number else 0)  # somewhere from first to last image
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        run.unlock()
        process = run.start(*SHARDS)
        run.until("it planned", lambda run=run: "SLURM run ID" in run.said)
        # A second one in the same folder is refused, and harms nothing.
        if not number:
            assert "lock" in run.refused("--rerun-incomplete", *SHARDS)
        assert process.wait() == 0, run.said[-4000:]
        run.until("the orphans ended", lambda run=run: not run.cluster.jobs())
        assert_same(run.results(), clean_shards.results())
