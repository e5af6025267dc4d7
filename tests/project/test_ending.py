"""What is said when a run has failed: each job that no attempt finished, why, and where its log is."""

import logging
from pathlib import Path

import pytest

from visionfm import artifacts
from visionfm.project.ending import Failure, failed, show, tell

LOG = "results/logs/extract/oct/oct.cls32.log"
ERROR = f"""[Sun Nov 29 23:24:55 2026]
Error in rule extract:
    message: None
    jobid: 7
    input: results/datasets/oct/images.parquet, results/encoders/oct/encoder.safetensors
    output: results/features/oct/oct.cls32.h5
    log: {LOG} (check log file(s) for error details)
    shell:
        visionfm extract --log {LOG}
        (command exited with non-zero exit code)
"""
ON_CLUSTER = ERROR.replace(f"log: {LOG} (", f"log: {LOG}, .snakemake/slurm_logs/rule_extract/18.log (")


def test_a_job_is_told_once_however_often_it_failed() -> None:
    inside_its_job = "".join(f"    {line}\n" for line in ERROR.replace("jobid: 7", "jobid: 0").splitlines())
    assert failed(ON_CLUSTER + inside_its_job + ERROR) == [Failure("extract", LOG)]


def test_a_job_that_a_retry_finished_is_not_told() -> None:
    other = ERROR.replace("extract", "train").replace("jobid: 7", "jobid: 9")
    assert failed(ERROR + other + "Finished jobid: 7 (Rule: extract)\n") == [
        Failure("train", LOG.replace("extract", "train"))
    ]


def test_another_job_of_the_rule_that_finished_changes_nothing() -> None:
    assert failed(ERROR + "Finished jobid: 8 (Rule: extract)\n") == [Failure("extract", LOG)]


def test_a_rule_without_a_log_is_told() -> None:
    assert failed("Error in rule all:\n    jobid: 0\n") == [Failure("all", "")]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    snakemake_log = tmp_path / "snakemake.log"
    snakemake_log.write_text(ERROR)
    return snakemake_log


def told(snakemake_log: Path, caplog: pytest.LogCaptureFixture, shown: bool = False) -> str:
    with caplog.at_level(logging.WARNING):
        tell(snakemake_log, shown=shown)
    return caplog.text


def test_the_stage_s_own_error_is_shown_with_its_log(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = said.parent / LOG
    log.parent.mkdir(parents=True)
    log.write_text("encoded 30\nerror: images of A: 1 problem\n  - x.png: truncated\n  what to do: repair it\n")
    text = told(said, caplog)
    assert f"extract: {LOG}\n  error: images of A: 1 problem\n    - x.png: truncated\n    what to do: repair it" in text
    assert "A job failed." in text and "encoded 30" not in text


def test_an_error_that_stands_above_is_not_said_twice(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = said.parent / LOG
    log.parent.mkdir(parents=True)
    log.write_text("error: images of A: 1 problem\n")
    text = told(said, caplog, shown=True)
    assert f"extract: {LOG}" in text and "1 problem" not in text and "snakemake.log" in text
    log.write_text("killed without a word\n")
    assert "killed without a word" in told(said, caplog, shown=True)


def test_of_a_stage_that_was_killed_the_last_lines_are_shown(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = said.parent / LOG
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo\nthree\nfour\n")
    text = told(said, caplog)
    assert "  two\n  three\n  four" in text and "one" not in text


def test_a_job_that_failed_before_its_stage_began_has_no_log(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "no log was written" in told(said, caplog)


def test_a_run_that_was_stopped_is_told_how_to_go_on(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped = "Terminating processes on user request, this might take some time.\n"
    said.write_text("4 of 9 steps (44%) done\n5 of 9 steps (56%) done\n" + stopped + ERROR)
    log = said.parent / LOG
    log.parent.mkdir(parents=True)
    for its_end in ("encoded 30\n", "error: stopped by SIGINT, progress saved\n"):
        log.write_text(its_end)
        text = told(said, caplog)
        assert "Stopped after 5 of 9 steps. What is finished stays" in text and "failed" not in text
    log.write_text("error: images of A: 1 problem\n")
    assert "A job failed" in told(said, caplog)


def test_a_job_that_was_killed_before_the_run_was_stopped_is_told(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    said.write_text(ERROR + "Terminating processes on user request, this might take some time.\n")
    log = said.parent / LOG
    log.parent.mkdir(parents=True)
    log.write_text("encoded 30\n")
    text = told(said, caplog)
    assert "Stopped" in text and "A job failed" in text and "encoded 30" in text


def test_a_run_that_made_its_report_ends_with_the_results(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    made_by = artifacts.provenance("report", {}, {})
    artifacts.write_text("results/report/summary.md", "# Eyes\n\nAUROC 0.9\n", made_by, schema="visionfm/summary/1")
    for log, shown in (
        (ERROR, ""),
        ("Finished jobid: 1 (Rule: report)\n", "# Eyes\n\nAUROC 0.9\n\nThe report: a.html"),
    ):
        caplog.clear()
        said.write_text(log)
        show("results/report/summary.md", "a.html", said)
        assert "\n".join(record.getMessage() for record in caplog.records).strip() == shown


def test_a_damaged_summary_is_told_and_fails_no_run(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    said.write_text("Finished jobid: 1 (Rule: report)\n")
    Path("results/report").mkdir(parents=True)
    Path("results/report/summary.md").write_text("# Eyes\n")
    show("results/report/summary.md", "a.html", said)
    assert "the summary is not shown" in caplog.text and "damaged" in caplog.text
