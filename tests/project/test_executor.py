"""A question that SLURM does not answer is no answer: Snakemake goes on asking about its jobs."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
import snakemake_executor_plugin_slurm as plugin

from visionfm.project.executor import hold_on_to_jobs


@pytest.fixture
def mended() -> Iterator[None]:
    """The executor as the workflow uses it, for one test."""
    released = plugin.query_job_status
    hold_on_to_jobs()
    hold_on_to_jobs()  # a Snakefile may be read twice
    yield
    plugin.query_job_status = released


def test_without_the_mend_the_executor_forgets_which_jobs_it_asked_about() -> None:
    assert asyncio.run(plugin.query_job_status("false", logging.getLogger())) == (None, None)


@pytest.mark.usefixtures("mended")
def test_a_failing_question_says_nothing_of_any_job(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(plugin.query_job_status("false", logging.getLogger())) == ({}, 0.0)
    assert caplog.text.count("are asked about again") == 1


@pytest.mark.usefixtures("mended")
def test_an_answer_is_what_the_queue_said() -> None:
    states, seconds = asyncio.run(plugin.query_job_status("echo '7|RUNNING'", logging.getLogger()))
    assert states == {"7": "RUNNING"} and seconds > 0
