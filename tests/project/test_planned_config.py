"""A queued job computes what was planned, though the config is edited before it starts."""

from pathlib import Path

import pytest

from visionfm.project.loading import load_config, planned_config
from visionfm.project.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "config").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_job_plans_as_its_plan_did(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONFM_PLANNED_CONFIG", "")
    edited = tmp_path / "config.yaml"
    edited.write_text(path.read_text())
    planned = planned_config(edited, planning=True)
    edited.write_text("edited: for the next run")
    again = planned_config(edited, planning=False)
    assert again == planned == load_config(path)
    assert again.model_dump_json(exclude_unset=True) == planned.model_dump_json(exclude_unset=True)
    before, after = Plan(planned), Plan(again)
    assert [type(task).__name__ for task in again.tasks.values()] == [type(t).__name__ for t in planned.tasks.values()]
    for task, model in before.task_models():
        for run in before.runs(task) if not before.is_given(task) else []:
            assert after.tasks.train_settings(task, model, run) == before.tasks.train_settings(task, model, run)
    assert after.report_settings() == before.report_settings()
