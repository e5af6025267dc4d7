"""Masks and points of drawn eyes, as the example says: found almost everywhere, with an encoder that knows nothing.

`VISIONFM_DENSE_DEMO` names the folder of a finished run; without it the run is made here (minutes).
"""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "config/examples/dense_demo.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dense_demo")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    if "VISIONFM_DENSE_DEMO" in os.environ:
        return Path(os.environ["VISIONFM_DENSE_DEMO"]).resolve()
    folder = tmp_path_factory.mktemp("dense_demo")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    comments = [line.lstrip("# ") for line in EXAMPLE.read_text().splitlines() if line.startswith("#   ")]
    drawn, run = comments[:2], f"snakemake -s {CHECKOUT}/workflow/Snakefile --cores 2 --configfile {EXAMPLE}"
    assert all(line.startswith("visionfm synth") for line in drawn) and comments[2].startswith("visionfm run")
    for command in (*drawn, run):
        done = subprocess.run(
            command.split(), cwd=folder, env=environment, capture_output=True, text=True, timeout=3600, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def value(demo: Path, task: str, metric: str, **keys: str) -> float:
    keys = {"run": "seed0", "split": "test", **keys}
    rows = pq.read_table(demo / "results/report/metrics.parquet").to_pylist()
    found = [row for row in rows if (row["task"], row["metric"]) == (task, metric)]
    (row,) = [row for row in found if all(row[key] == value for key, value in keys.items())]
    return float(row["value"])


def test_vessels_are_found(demo: Path) -> None:
    assert value(demo, "vessels", "dice", **{"class": "vessel"}) >= 0.90


def test_fluid_is_found_where_it_is_and_nowhere_else(demo: Path) -> None:
    assert value(demo, "fluid", "dice", **{"class": "fluid"}) >= 0.90


def test_the_chamber_angle_is_found_within_three_px(demo: Path) -> None:
    assert value(demo, "angle", "mre", target="all points") <= 3
