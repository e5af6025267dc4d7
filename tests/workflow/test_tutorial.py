"""The tutorial, the how-to's and the notebook run as they stand on their pages; the how-to's in copies of one run."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from sklearn.metrics import auc
from world.checkout import CHECKOUT
from world.scripts import run_script

pytestmark = pytest.mark.xdist_group("tutorial")  # one worker runs the tutorial once
HOW_TOS = {  # what each prints, at its end, if it came to its end
    "compare-models": r"any_dr.*\bsmall\b",
    "dicom": r"archive/p2",
    "external-validation": r"any_dr +elsewhere +test +0\.\d",
    "folds": r"any_dr_folds",
    "hand-over": r"typicality",
    "new-encoder": r"rule report",
    "own-table": r"task grade, grade: test \d+ images",
    "read-numbers": r"artefacts are as they were written",
    "slurm": r"rule extract",
    "volumes": r"07\.tif#4",
}


def test_every_command_of_the_tutorial_runs(tutorial: tuple[Path, str]) -> None:
    folder, said = tutorial
    assert re.search(r"grade +seed0 .*quadratic_kappa", said), said[-3000:]
    assert "artefacts are as they were written" in said
    assert len((folder / "results/logs/extract/untrained/clinic.cls96.log").read_text().split("encoded ")) == 2


def test_every_how_to_has_a_script_that_is_run() -> None:
    pages = {path.stem for path in (CHECKOUT / "docs/how-to").glob("*.md")} - {"index"}
    assert pages == set(HOW_TOS)
    for name in pages:
        assert f'--8<-- "how-to/{name}.sh"' in (CHECKOUT / f"docs/how-to/{name}.md").read_text()


@pytest.mark.parametrize("name", HOW_TOS)
def test_a_how_to_does_what_its_page_says(
    name: str, tutorial: tuple[Path, str], tmp_path: Path, commands: Path
) -> None:
    folder = tmp_path / name
    subprocess.run(["cp", "-a", str(tutorial[0]), str(folder)], check=True)  # with all dates
    said = run_script(CHECKOUT / f"docs/how-to/{name}.sh", folder, commands)
    assert re.search(HOW_TOS[name], said), said[-3000:]


def test_the_notebook_runs_on_the_tutorial_s_results(
    tutorial: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tutorial[0])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = json.loads((CHECKOUT / "docs/notebook.ipynb").read_text())
    names: dict = {}
    for cell in notebook["cells"]:
        assert cell["cell_type"] == "markdown" or cell["outputs"] == []
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook.ipynb", "exec"), names)
    assert set(names["shown"]["task"]) == {"any_dr", "grade"}
    curve = names["axes"].lines[0]
    assert auc(curve.get_xdata(), curve.get_ydata()) == pytest.approx(names["area"]["value"], abs=1e-9)
