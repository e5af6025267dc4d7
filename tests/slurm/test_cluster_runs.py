"""A whole run through `snakemake --profile slurm`, compared with a local one; new attempts; errors that say why."""

import os
import re
import time
from collections.abc import Callable

from cluster_run import Run, assert_same

GPU_STAGES = ("pretrain", "extract")
CPU_STAGES = ("index", "label", "audit", "import", "fuse", "train", "predict", "evaluate", "compare", "report")
FEATURES = {"fundus": "results/features/fundus/fundus.cls32.0.h5", "oct": "results/features/oct/oct.cls32.h5"}
GROUPS = ("samples", "encoders", "decoders", "report")


def devices_of(run: Run, job: str) -> str:
    """Return the devices that SLURM gave to a job, as CUDA_VISIBLE_DEVICES has them."""
    found = re.search(r"GRES=gpu:a100:\d+\(IDX:([\d,-]+)\)", run.cluster.ask("scontrol", "-d", "show", "job", job))
    return found[1] if found else "none"


def test_a_whole_run_equals_a_local_one_in_few_jobs_with_the_devices_they_asked_for(
    project: Callable[..., Run], clean: Run, record_property: Callable[[str, object], None]
) -> None:
    run, started = project(), time.monotonic()
    run.note_starts()
    # The devices of a finished job are forgotten: they are looked up while the jobs run.
    seen: dict[str, str] = {}
    process = run.start()
    while process.poll() is None:
        for job in run.cluster.jobs("R"):
            seen.setdefault(job, devices_of(run, job))
        time.sleep(0.5)
    assert process.returncode == 0, run.said[-6000:]
    slurm_s, jobs = time.monotonic() - started, run.jobs()
    assert_same(run.results(), clean.results())

    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert sorted(run.outputs()) == sorted(set(run.outputs()))  # nothing is started twice
    grouped = [job for job in jobs if job["Comment"].removeprefix("rule_").startswith(GROUPS)]
    alone = [job for job in jobs if job not in grouped]
    assert {re.match(r"rule_([a-z_]+?)(_wildcards|$)", job["Comment"])[1] for job in alone} == set(GPU_STAGES)
    for stage in GPU_STAGES:
        assert run.starts(stage), stage
        for start in run.starts(stage):
            assert start.devices != "none" and start.devices == seen[start.job], start
    for stage in CPU_STAGES:
        assert run.starts(stage), stage
        for start in run.starts(stage):
            assert start.job != "none" and start.devices == "none", start

    planned = int(re.search(r"^total +(\d+)", run.said, re.MULTILINE)[1]) - 1  # `all` runs nothing
    assert len(jobs) <= 0.6 * planned
    words = f"{planned} rules' jobs in {len(jobs)} submissions; {slurm_s:.0f} s"
    record_property("wall", words)
    print(words)


def test_a_job_that_is_killed_for_memory_is_submitted_again_with_more(project: Callable[..., Run]) -> None:
    run = project(lambda config: config["encoders"]["fundus"]["resources"].update(mem_mb=600))
    run.finish(FEATURES["fundus"])
    first, second = run.jobs("extract")
    assert first["JobId"] != second["JobId"]
    assert first["JobState"] != "COMPLETED" and second["JobState"] == "COMPLETED"
    assert "exceeded memory limit" in run.said  # the failed job's log is shown
    assert [re.search(r"mem=(\w+)", job["TRES"])[1] for job in (first, second)] == ["600M", "1200M"]


def test_a_failure_names_the_rule_its_log_and_the_cause_and_its_repair_equals_a_clean_run(
    project: Callable[..., Run], clean: Run
) -> None:
    run = project()
    run.warm()
    images = sorted((run.folder / "data/OCTClassificationMulti").rglob("*.png"))
    image = next(path for path in images if "training" not in path.parts)  # the encoder is trained on those
    whole = image.read_bytes()
    before = image.stat()
    image.write_bytes(whole[:100])
    said = run.finish("--retries", "1", FEATURES["oct"], fails=True)
    assert len(run.jobs("extract")) == 2  # the first attempt and its retry
    assert "Error in rule extract" in said
    assert "log: results/logs/extract/oct/oct.cls32.log" in said
    closing = said[said.rindex("A job failed.") :]  # told once at the end, with its error
    assert closing.count("results/logs/extract/oct/oct.cls32.log") == 1
    assert image.name in closing and "what to do" in closing

    image.write_bytes(whole)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))  # an index holds dates
    run.finish()
    assert_same(run.results(), clean.results())
