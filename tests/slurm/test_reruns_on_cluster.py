"""A rule that fails once as a SLURM job after an edit of the small project: repaired, it ends like a clean run."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest
from cluster import Cluster
from cluster_run import Run
from rerun_cases import ALWAYS, CASES, RULES
from rerun_project import Project, assert_same, without_orphans, write_project
from zygote import write_cold_wrapper

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(cluster: Cluster, commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small project after a local run."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    write_project(folder)
    Run(folder, cluster, commands).local()
    return folder


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_fails_in_a_job_is_repaired_and_ends_like_a_clean_run(
    rule: str, finished: Path, cluster: Cluster, commands: Path, tmp_path: Path
) -> None:
    case = CASES[ALWAYS[rule]]
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", str(finished), str(folder)], check=True)
    run, project = Run(folder, cluster, commands), Project(folder, folder / "bin")
    write_cold_wrapper(project.commands)
    case.edit(project)
    clean = Run(project.copy(tmp_path / "clean", with_results=False).folder, cluster, commands)

    (folder / f"fail-{rule}").touch()
    run.finish("--retries", "0", fails=True)
    assert not (folder / f"fail-{rule}").exists()
    calls = project.calls()
    run.finish()
    calls += project.calls()
    computed = Counter(call.output for call in calls if not call.unchanged)
    assert computed and set(computed.values()) == {1}, f"computed twice: {computed}"
    assert "Nothing to be done" in run.finish("-n")

    clean.local()
    expected = clean.results()
    assert_same(without_orphans(run.results(), expected), expected)
