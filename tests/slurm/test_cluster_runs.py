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


def finish_watched(run: Run, *arguments: str, fails: bool = False) -> dict[str, str]:
    """Run to the end; return the devices of each job, looked up while it runs: afterwards SLURM forgets them."""
    seen: dict[str, str] = {}
    process = run.start(*arguments)
    while process.poll() is None:
        for job in run.cluster.jobs("R"):
            seen.setdefault(job, devices_of(run, job))
        time.sleep(0.5)
    assert (process.returncode != 0) == fails, run.said[-6000:]
    return seen


def assert_devices(run: Run, stages: tuple[str, ...], seen: dict[str, str]) -> None:
    """These stages started, with the devices that their jobs were given."""
    for stage in stages:
        assert run.starts(stage), stage
        for start in run.starts(stage):
            assert start.job != "none" and start.devices == seen.get(start.job, "none"), start
            assert (start.devices != "none") == (stage in GPU_STAGES), start


def test_a_failure_is_named_with_its_cause_and_the_repaired_run_equals_a_local_one_in_few_jobs(
    project: Callable[..., Run], clean: Run, record_property: Callable[[str, object], None]
) -> None:
    run = project()
    run.note_starts()
    images = sorted((run.folder / "data/OCTClassificationMulti").rglob("*.png"))
    image = next(path for path in images if "training" not in path.parts)  # the encoder is trained on those
    whole = image.read_bytes()
    before = image.stat()
    image.write_bytes(whole[:100])
    seen = finish_watched(run, "--retries", "1", FEATURES["oct"], fails=True)
    assert len(run.jobs("extract")) == 2  # the first attempt and its retry
    assert "Error in rule extract" in run.said
    assert "log: results/logs/extract/oct/oct.cls32.log" in run.said
    closing = run.said[run.said.rindex("A job failed.") :]  # told once at the end, with its error
    assert closing.count("results/logs/extract/oct/oct.cls32.log") == 1
    assert image.name in closing and "what to do" in closing
    assert_devices(run, GPU_STAGES, seen)

    image.write_bytes(whole)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))  # an index holds dates
    run.forget_starts()
    started = time.monotonic()
    seen = finish_watched(run)
    slurm_s, jobs = time.monotonic() - started, run.jobs()
    assert_same(run.results(), clean.results())
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert sorted(run.outputs()) == sorted(set(run.outputs()))  # nothing is started twice
    assert_devices(run, ("extract", *CPU_STAGES), seen)
    grouped = [job for job in jobs if job["Comment"].removeprefix("rule_").startswith(GROUPS)]
    alone = [job for job in jobs if job not in grouped]
    assert {re.match(r"rule_([a-z_]+?)(_wildcards|$)", job["Comment"])[1] for job in alone} == {"extract"}

    planned = int(re.search(r"^total +(\d+)", run.said, re.MULTILINE)[1]) - 1  # `all` runs nothing
    assert len(jobs) <= 0.6 * planned
    words = f"{planned} rules' jobs in {len(jobs)} submissions; {slurm_s:.0f} s"
    record_property("wall", words)
    print(words)


def test_a_job_that_is_killed_for_memory_is_submitted_again_with_more(project: Callable[..., Run]) -> None:
    run = project(lambda config: config["encoders"]["fundus"]["resources"].update(mem_mb=600))
    run.finish(FEATURES["fundus"])
    jobs = run.jobs("extract")
    assert len(jobs) == 2, run.said[-6000:]
    first, second = jobs
    assert first["JobId"] != second["JobId"]
    assert first["JobState"] != "COMPLETED" and second["JobState"] == "COMPLETED"
    assert "exceeded memory limit" in run.said  # the failed job's log is shown
    assert [re.search(r"mem=(\w+)", job["TRES"])[1] for job in (first, second)] == ["600M", "1200M"]
