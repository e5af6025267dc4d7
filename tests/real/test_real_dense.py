"""Masks and points of real images, from one config to the report: vessels and a second observer, areas, disc, fovea.

`VISIONFM_SHARED` names the folder that holds the images and the golden encoder (default: beside the checkout).
"""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from world.checkout import finished, snakemake

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("real_dense")]


@pytest.fixture(scope="module")
def run(shared: Path, commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    return finished(tmp_path_factory.mktemp("real_dense"), "dense.yaml", commands)


def metric(folder: Path, task: str, name: str, **keys: str | None) -> dict:
    """Return one row of the test split over all data."""
    keys = {"run": "seed0", "split": "test", **keys}
    rows = pq.read_table(folder / "results/report/metrics.parquet").to_pylist()
    found = [row for row in rows if (row["task"], row["metric"]) == (task, name)]
    found = [row for row in found if all(row[key] == value for key, value in keys.items())]
    assert len(found) == 1, found
    return found[0]


def test_vessels_reach_the_floor_and_stand_beside_the_second_observer(run: Path) -> None:
    ours, theirs = (metric(run, "vessels", "dice", run=name, **{"class": "vessel"}) for name in ("seed0", "observer2"))
    assert ours["value"] >= 0.70 and ours["n"] == theirs["n"] == 4 and ours["n_subjects"] == 2
    assert 0.7 < theirs["value"] < 0.9
    assert metric(run, "vessels", "auroc", **{"class": "vessel"})["value"] > 0.9
    assert metric(run, "vessels", "sensitivity", **{"class": "vessel"})["value"] > 0.6


def test_areas_of_three_classes_are_measured_by_patient(run: Path) -> None:
    rows = pq.read_table(run / "results/tasks/nonperfusion/tiny/samples.parquet").to_pylist()
    by_subject: dict[str, set[str]] = {}
    for row in rows:
        by_subject.setdefault(row["subject_id"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in by_subject.values()) and len(rows) == 14
    for name in ("background", "occlusion", "nonperfusion"):
        row = metric(run, "nonperfusion", "dice", **{"class": name})
        assert row["value"] is not None or row["reason"]


def test_the_disc_is_found_within_five_percent_of_the_width(run: Path) -> None:
    disc, fovea = (metric(run, "landmarks", "mre", target=name) for name in ("disc", "fovea"))
    assert disc["value"] < 0.05 * 768 and disc["unit"] == "px" and disc["ci_low"] < disc["value"] < disc["ci_high"]
    assert fovea["n"] < disc["n"] and "the point is unknown there" in fovea["reason"]


def test_masks_have_the_originals_sizes_and_names(run: Path, shared: Path) -> None:
    for file in (run / "results/tasks/vessels/tiny/seed0/masks/chase/images").glob("*.png"):
        assert Image.open(file).size == Image.open(shared / f"data/chase_db1/images/{file.stem}.jpg").size


def test_a_second_run_does_nothing(run: Path, commands: Path) -> None:
    done = snakemake(run, "-n", commands=commands)
    assert "Nothing to be done" in done.stdout + done.stderr
