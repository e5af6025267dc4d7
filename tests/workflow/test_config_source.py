"""A config is its files, whole: of a module of another workflow too; what would be overlooked is refused."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from rerun_project import CHECKOUT, Project
from world.scripts import run_script

# What `snakedeploy deploy-workflow` writes.
DEPLOYED = """
from snakemake.utils import min_version

min_version("9.0")

configfile: "config/config.yaml"

module visionfm:
    snakefile:
        {snakefile!r}
    config:
        {config}

use rule * from visionfm
"""


@pytest.fixture
def deployed(fresh: Project, tmp_path: Path) -> Project:
    """The small project with a Snakefile of its own that uses ours as a module."""
    project = fresh.copy(tmp_path / "project")
    for folder in ("config", "workflow"):
        (project.folder / folder).mkdir()
    (project.folder / "config.yaml").rename(project.folder / "config/config.yaml")
    return project


def dry_run(project: Project, config: str) -> str:
    """Plan by the project's own Snakefile; return what Snakemake said."""
    text = DEPLOYED.format(snakefile=str(CHECKOUT / "workflow/Snakefile"), config=config)
    (project.folder / "workflow/Snakefile").write_text(text)
    path = f"{project.commands}:{os.environ['PATH']}"
    done = subprocess.run(
        ["snakemake", "--dry-run", "--cores", "1"],
        cwd=project.folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_it_runs_as_a_module_of_another_workflow(deployed: Project) -> None:
    said = dry_run(deployed, "config")
    planned = {line.split()[0]: line.split()[-1] for line in said.splitlines() if line[-1:].isdigit()}
    assert planned["report"] == "1" and planned["index"] == "2", said


def test_the_smallest_run_ends_with_a_report_by_the_commands_that_its_config_names(
    tmp_path: Path, commands: Path
) -> None:
    shutil.copytree(CHECKOUT / ".test/config", tmp_path / ".test/config")
    (tmp_path / "workflow").symlink_to(CHECKOUT / "workflow")
    lines = (tmp_path / ".test/config/config.yaml").read_text().splitlines()[1:3]
    script = tmp_path / "run.sh"
    script.write_text("\n".join(line.removeprefix("# ") for line in lines))
    assert "The report: results/report/index.html" in run_script(script, tmp_path / ".test", commands)


def test_a_part_of_another_workflows_config_is_refused(deployed: Project) -> None:
    path = deployed.folder / "config/config.yaml"
    path.write_text(yaml.safe_dump({"eyes": yaml.safe_load(path.read_text())}))
    assert "expected: config: config" in dry_run(deployed, "config['eyes']")


def test_a_config_on_the_command_line_is_refused(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    done = project.snakemake("--dry-run", *shlex.split("--config title=Mine cpu_partition=day"))
    assert done.returncode != 0
    assert "found: title\n" in done.stdout + done.stderr
