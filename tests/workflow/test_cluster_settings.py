"""What only a site knows, from the profile's `config`: refused before a job is planned."""

from pathlib import Path

import pytest
from rerun_project import Project


@pytest.mark.parametrize("given", ["5m", "-3", "true"])
def test_a_warning_that_is_no_number_of_seconds_is_refused(fresh: Project, tmp_path: Path, given: str) -> None:
    project = fresh.copy(tmp_path / "project")
    done = project.snakemake("--config", f"warn_seconds={given}", "--dry-run")
    assert done.returncode
    said = done.stdout + done.stderr
    assert "warn_seconds is not a number of seconds" in said
    assert f"found: {given}" in said
    assert "what to do" in said
