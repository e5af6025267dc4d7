"""`device: auto`, the default: a job asks for a GPU where there are any to be had, and works on a laptop."""

from pathlib import Path

import pytest
from rerun_project import Project

FEATURES = "results/features/fundus/a.cls32.h5"


@pytest.fixture
def automatic(fresh: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    project = fresh.copy(tmp_path / "project")
    config = project.config
    for encoder in config["encoders"].values():
        del encoder["device"]
    project.config = config
    return project


def test_without_a_gpu_it_computes_on_the_cpu_and_says_so(automatic: Project) -> None:
    extract = automatic.run(FEATURES)[-1]
    assert extract.stage == "extract" and "this computes on the CPU" in extract.log


def test_a_job_asks_for_a_gpu_where_the_profile_offers_some(automatic: Project) -> None:
    shown = {
        offered: automatic.snakemake(FEATURES, "--dry-run", "--printshellcmds", "--resources", f"gpu={offered}").stdout
        for offered in (0, 4)
    }
    assert "exec visionfm launch --gpus 1 " in shown[4] and "exec visionfm launch" not in shown[0]
