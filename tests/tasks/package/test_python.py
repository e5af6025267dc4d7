"""What a notebook uses: each example of a docstring runs, and the tables are tidy."""

import doctest
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from world.handed_over import Run

import visionfm


@pytest.fixture
def beside(run: Run, sick: Path, sick_model: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder as the examples have it: a package, two photos, an encoder, and the results of one task."""
    for name in ("003.png", "000.jpg"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_bytes((run.folder / "Fundus/eyes" / name).read_bytes())
    (tmp_path / "sick.vfm").symlink_to(sick_model)
    (tmp_path / "encoder.safetensors").symlink_to(run.results / "encoders/eyes/encoder.safetensors")
    (tmp_path / "results/tasks").mkdir(parents=True)
    (tmp_path / "results/tasks/sick").symlink_to(sick.parent)
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.mark.parametrize("name", ["embed", "load_model", "read_results"])
def test_the_example_of_a_function_runs(beside: Path, name: str) -> None:
    function = getattr(visionfm, name)
    module = import_module(function.__module__)
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, module)
    assert example.examples
    failed, _ = doctest.DocTestRunner().run(example)
    assert failed == 0


def test_tables_say_whose_they_are(sick: Path, run: Run) -> None:
    found = visionfm.read_results(run.results)
    mine = found.predictions[found.predictions["task"] == "sick"]
    assert set(mine["model"]) == {"m"} and set(mine["run"]) == {"seed0"}
    assert mine["probability"].between(0, 1).all() and set(mine["truth"]) <= {0.0, 1.0}
    assert len(found.samples[found.samples["task"] == "sick"]) == 60
    assert found.comparison.empty and len(found.training) and len(found.metrics)
