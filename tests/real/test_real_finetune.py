"""One modality in depth on real images: DR grade and FFA diagnosis, every way of training, to the report."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from world.checkout import finished

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("real_finetune")]


@pytest.fixture(scope="module")
def rows(shared: Path, commands: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The macro AUROCs on all test data of a finished run; `VISIONFM_REAL_FINETUNE` names the folder of one."""
    if "VISIONFM_REAL_FINETUNE" in os.environ:
        folder = Path(os.environ["VISIONFM_REAL_FINETUNE"])
    else:
        folder = finished(tmp_path_factory.mktemp("real"), "finetune.yaml", commands, timeout_s=3000)
    assert "Label efficiency" in (folder / "results/report/index.html").read_text()
    return [
        row
        for row in pq.read_table(folder / "results/report/metrics.parquet").to_pylist()
        if (row["metric"], row["class"], row["split"]) == ("auroc", "macro", "test")
    ]


def test_every_way_of_training_has_its_figure_with_an_interval(rows: list[dict]) -> None:
    found = {(row["task"], row["run"]): row for row in rows}
    for task in ("dr_grade", "ffa_diagnosis"):
        assert {(task, run) for run in ("seed0", "knn", "logreg")} <= found.keys()
    for task in ("dr_grade_published", "dr_grade_tuned", "dr_grade_lora", "ffa_tuned", "ffa_lora"):
        assert (task, "seed0") in found
    assert {run for task, run in found if task == "dr_grade"} >= {"mean", "mean-frac0p2", "mean-frac0p5"}
    assert {run for task, run in found if task == "ffa_diagnosis"} >= {"seed0-shots2", "seed0-shots5"}
    for key, row in found.items():
        assert row["value"] is not None and row["ci_low"] <= row["value"] <= row["ci_high"], key


def test_columns_say_head_seed_and_part(rows: list[dict]) -> None:
    found = {(row["task"], row["run"]): row for row in rows}
    assert (found["dr_grade", "knn"]["head"], found["dr_grade", "knn"]["seed"]) == ("knn", None)
    assert (
        found["dr_grade", "seed1-frac0p2"]["train_fraction"] == 0.2 and found["dr_grade", "seed1-frac0p2"]["seed"] == 1
    )
    assert found["ffa_diagnosis", "seed0-shots5"]["shots"] == 5
    assert found["dr_grade_tuned", "seed0"]["head"] == "modern"


def test_an_untrained_encoder_still_tells_something_of_real_images(rows: list[dict]) -> None:
    found = {(row["task"], row["run"]): row["value"] for row in rows}
    assert found["dr_grade", "mean"] > 0.6 and found["dr_grade", "logreg"] > 0.6
