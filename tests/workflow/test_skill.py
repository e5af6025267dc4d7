"""The checks of skill/tasks.md: each takes a right outcome, and says what is wrong with wrong ones."""

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from world.checkout import CHECKOUT

import visionfm
from visionfm.tasks.package.making import package

pytestmark = pytest.mark.xdist_group("tutorial")
SPEC = importlib.util.spec_from_file_location("skill_check", CHECKOUT / "skill/check.py")
assert SPEC is not None and SPEC.loader is not None
CHECK = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(CHECK)
SPLIT = {"test": 0.3, "validation": 0.2}
GRADE = {"kind": "ordinal", "targets": {"dr_grade": {"classes": 5}}}
TABLE = {"image": "path", "subject": "subject", "eye": "eye", "targets": {"dr_grade": "dr_grade"}}


@pytest.fixture(scope="module")
def folder(tutorial: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tutorial's folder with what the tasks speak of."""
    folder = tmp_path_factory.mktemp("skill") / "tutorial"
    subprocess.run(["cp", "-a", str(tutorial[0]), str(folder)], check=True)
    pictures = sorted((folder / "clinic/FundusClassification/dataset_A/test").glob("*.png"))
    (folder / "photos").mkdir()
    for picture in pictures[:2]:
        shutil.copy(picture, folder / "photos")
    shutil.copytree(folder / "clinic", folder / "elsewhere")
    table = (folder / "clinic/truth.csv").read_text().splitlines()
    people = [line.split(",")[1] for line in table]
    twice = next(at for at in range(2, len(table)) if people[at] == people[at - 1])
    table[twice] = table[twice].replace(",training,", ",test,")
    (folder / "clinic/leaky.csv").write_text("\n".join(table) + "\n")
    return folder


def config(folder: Path, name: str, change: Callable[[dict], None]) -> None:
    content = yaml.safe_load((folder / "clinic.yaml").read_text())
    del content["tasks"]["grade"]
    change(content)
    (folder / name).write_text(yaml.safe_dump(content))


def wrong(task: str, folder: Path) -> str:
    return "; ".join(CHECK.wrong(task, folder))


def test_the_page_lists_the_tasks_that_are_checked() -> None:
    page = (CHECKOUT / "skill/tasks.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.M) == list(CHECK.TASKS)


@pytest.mark.parametrize("task", ["own-table", "auroc", "people", "features", "answers", "mail", "package"])
def test_nothing_done_is_wrong(task: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(folder / "results")
    shutil.copy(folder / "clinic.yaml", tmp_path)
    assert wrong(task, tmp_path) != ""


def test_configs_are_told_apart(folder: Path) -> None:
    def own(content: dict) -> None:
        content["datasets"]["clinic"] |= {
            "columns": dict(TABLE),
            "split": {"test": 0.25, "validation": 0.2, "stratify": "dr_grade"},
        }
        content["tasks"] = {"grade": {**GRADE, "datasets": ["clinic"], "models": ["tiny"]}}

    def nobody(content: dict) -> None:
        own(content)
        del content["datasets"]["clinic"]["columns"]["subject"]

    config(folder, "own.yaml", own)
    assert wrong("own-table", folder) == ""
    config(folder, "own.yaml", nobody)
    assert "people" in wrong("own-table", folder)

    def mended(content: dict) -> None:
        content["datasets"]["clinic"] |= {"table": "leaky.csv", "columns": TABLE, "split": SPLIT}

    def silenced(content: dict) -> None:
        content["datasets"]["clinic"] |= {"table": "leaky.csv", "allow_leakage": "they said that it is so"}

    config(folder, "leaky.yaml", mended)
    assert wrong("leak", folder) == ""
    config(folder, "leaky.yaml", silenced)
    assert "allowed" in wrong("leak", folder)
    config(folder, "leaky.yaml", lambda content: content["datasets"]["clinic"].update(table="leaky.csv"))
    assert "finds mistakes" in wrong("leak", folder)

    def divided(content: dict) -> None:
        content["datasets"]["clinic"] |= {"columns": TABLE}
        content["datasets"]["clinic"].pop("split")
        content["tasks"]["any_dr"]["split"] = {"folds": 5, "validation": 0.2}

    config(folder, "folds.yaml", divided)
    assert wrong("folds", folder) == ""
    config(folder, "folds.yaml", lambda content: None)
    assert "no five folds" in wrong("folds", folder)


def test_another_hospital_tests_and_does_not_train(folder: Path) -> None:
    block = {"modality": "Fundus", "root": "elsewhere", "layout": "table", "table": "truth.csv", "columns": TABLE}
    change = {"datasets": {"elsewhere": block}, "tasks": {"any_dr": {"external": ["elsewhere"]}}}
    (folder / "external.yaml").write_text(yaml.safe_dump(change))
    assert wrong("external", folder) == ""
    change["tasks"] = {"any_dr": {"datasets": ["clinic", "elsewhere"]}}
    (folder / "external.yaml").write_text(yaml.safe_dump(change))
    assert "not tested on elsewhere" in wrong("external", folder)


def test_numbers_are_those_of_the_test_split(folder: Path) -> None:
    rows = visionfm.read_results(folder / "results").metrics
    of = rows[(rows["run"] == "seed0") & rows["metric"].isin(["auroc", "quadratic_kappa"])]
    for split, right in (("test", True), ("validation", False)):
        area = of[(of["split"] == split) & (of["task"] == "any_dr")].iloc[0]
        said = {name: float(area[name]) for name in ("value", "ci_low", "ci_high", "n", "n_subjects")}
        (folder / "answer.json").write_text(json.dumps(said))
        assert (wrong("auroc", folder) == "") == right
    kappa = of[(of["split"] == "test") & (of["task"] == "grade") & (of["metric"] == "quadratic_kappa")].iloc[0]
    for n_subjects, right in ((int(kappa["n_subjects"]), True), (int(kappa["n"]), False)):
        (folder / "people.json").write_text(json.dumps({"n": int(kappa["n"]), "n_subjects": n_subjects}))
        assert (wrong("people", folder) == "") == right


def test_a_model_and_what_it_says_to_photos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    package(Path("results/tasks/any_dr/tiny"), Path("any_dr.vfm"), "diagnosis in screening")
    assert "not what the user said" in wrong("package", folder)
    package(Path("results/tasks/any_dr/tiny"), Path("any_dr.vfm"), "A demonstration on drawn eyes.")
    assert wrong("package", folder) == ""
    answers = visionfm.load_model("any_dr.vfm", device="cpu").predict("photos")
    answers.to_csv("answers.csv", index=False)
    assert wrong("answers", folder) == ""
    answers.assign(dr_grade=0.5).to_csv("answers.csv", index=False)
    assert "not the model's" in wrong("answers", folder)
    table = visionfm.embed("photos", "results/encoders/untrained/encoder.safetensors", device="cpu")
    table.to_parquet("features.parquet")
    assert wrong("features", folder) == ""
    table.iloc[1:].assign(image_id="of another picture").to_parquet("features.parquet")
    assert "not those of photos" in wrong("features", folder)


def test_only_the_report_is_mailed(folder: Path) -> None:
    (folder / "mail").mkdir()
    shutil.copy(folder / "results/report/index.html", folder / "mail")
    assert wrong("mail", folder) == ""
    shutil.copy(folder / "results/tasks/any_dr/tiny/samples.parquet", folder / "mail")
    assert "samples.parquet is no file of the report" in wrong("mail", folder)
