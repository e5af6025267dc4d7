"""The order of jobs that could run at once: short ones that read what users give come before long ones."""

from pathlib import Path

from rerun_project import Project

TARGETS = [
    "results/features/fundus/a.cls32.h5",
    "results/features/oct/b.cls32.h5",
    "results/tasks/thick_b/audit.parquet",
]


def test_everything_users_give_is_read_before_the_first_image_is_encoded(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    stages = [call.stage for call in project.run("--cores", "1", *TARGETS)]
    assert stages.count("extract") == 2
    assert stages[-2:] == ["extract", "extract"]
    assert {"index", "label", "audit", "checksum", "import"} == set(stages[:-2])
