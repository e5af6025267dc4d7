"""The page of cost says what benchmark files and SLURM's accounting say, and no more."""

import os
from pathlib import Path

import pytest

from visionfm.cli import main
from visionfm.report import cost as report_cost

HEAD = "s\th:m:s\tmax_rss\tcpu_time\tresources\n"
RUN_ID = "0f4d2c1e-aaaa-bbbb-cccc-0123456789ab"


def note(results: Path, name: str, row: str, log: str = "", head: str = HEAD) -> None:
    path = results / f"benchmarks/{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + row + "\n")
    logged = results / f"logs/{name}.log"
    logged.parent.mkdir(parents=True, exist_ok=True)
    logged.write_text(log)


def cells(results: Path, rule: str) -> list[str]:
    return next(cost.cells for cost in report_cost.by_rule(report_cost.read_jobs(results)) if cost.rule == rule)


def test_hours_are_what_was_asked_for_times_how_long_and_rates_are_of_jobs_that_encoded(results: Path) -> None:
    asked = "{'gpu': 2, 'mem_mb': 8000, 'mem': '8 GB', '_cores': 4}"
    note(results, "extract/e/a.cls32", f"3600\t1:00:00\t1500.4\t7200.0\t{asked}", "encoded 7200, reused 5\n")
    note(results, "extract/e/b.cls32", f"1800\t0:30:00\t900\t36.0\t{asked}", "unchanged: x\n")
    #                     jobs, hours, CPU-h asked, used, GPU-h asked, MB used, asked, images/s
    assert cells(results, "extract") == ["2", "1.50", "6.00", "2.01", "3.00", "1,500", "8,000", "2.0"]


def test_several_nodes_count_their_gpus_and_cores(results: Path) -> None:
    asked = "{'slurm_extra': '--gpus-per-node=a100:4', 'nodes': 2, 'gpu': 0, 'mem_mb': 1, '_cores': 8}"
    note(results, "pretrain/oct", f"3600\t1:00:00\t100\t1\t{asked}")
    assert cells(results, "pretrain")[2::2] == ["16.00", "8.00", "1"]


def test_a_job_may_have_any_number_of_inputs(results: Path) -> None:
    """Snakemake notes the size of each in one field."""
    head = HEAD.replace("\n", "\tinput_size_mb\n")
    sizes = "{" + ", ".join(f"'results/tasks/t{i}/m/seed0/predictions.parquet': 0.1" for i in range(4000)) + "}"
    note(results, "report/report", f"3600\t1:00:00\t100\t1\t{{}}\t{sizes}", head=head)
    assert len(sizes) > 131_072 and cells(results, "report")[:2] == ["1", "1.00"]


def test_a_page_that_cannot_be_written_fails_no_run(
    results: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note(results, "report/report", "not a number\t1:00:00\t100\t1\t{}")
    report_cost.after_run(results, tmp_path)
    assert "visionfm cost" in caplog.text and not (results / "benchmarks/cost.html").exists()


def test_what_was_not_measured_is_a_dash(results: Path) -> None:
    note(results, "index/a", "1.0\t0:00:01\tNA\t-", head="s\th:m:s\tmax_rss\tcpu_time\n")
    assert cells(results, "index") == ["1", "0.00"] + [report_cost.DASH] * 6


def test_a_measurement_of_the_shell_alone_is_none(results: Path) -> None:
    note(results, "finetune/a", "898.7\t0:14:58\t10.38\t0.02\t{}")
    assert cells(results, "finetune") == ["1", "0.25"] + [report_cost.DASH] * 6


def test_the_page_and_the_table_show_it(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note(results, "extract/e/a", "3600\t1:00:00\t1500\t7200.0\t{'gpu': 1, 'mem_mb': 8000, '_cores': 4}")
    assert main(["cost"]) == 0
    shown, page = capsys.readouterr().out, (results / "benchmarks/cost.html").read_text()
    assert "1,500" in shown and "1,500" in page and "accounting" not in page


def test_accounting_adds_every_attempt(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note(results, "extract/e/a", "1\t0:00:01\t1\t1\t{}")
    log = tmp_path / ".snakemake/log/1.snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"SLURM run ID: {RUN_ID}\n")
    client = tmp_path / "bin/sacct"
    client.parent.mkdir()
    client.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *{RUN_ID}*) ;; *) exit 1 ;; esac\n'
        "echo 'COMPLETED|7200|3600|billing=4,cpu=2,gres/gpu=4,mem=8G,node=1'\n"
        "echo 'CANCELLED by 0|3600|3600|cpu=1,mem=8G,node=1'\n"
        "echo 'COMPLETED|3600|1800|cpu=2,gres/gpu=2'\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")
    assert report_cost.accounted(report_cost.run_ids(tmp_path)) == [
        ("CANCELLED", 1, 1.0, 0.0),
        ("COMPLETED", 2, 3.0, 5.0),
    ]
    report_cost.write(results, tmp_path)
    assert "By SLURM" in (results / "benchmarks/cost.html").read_text()


def test_no_jobs_no_page(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 3
    assert "no job has run" in capsys.readouterr().err
