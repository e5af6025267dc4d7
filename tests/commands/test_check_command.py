"""`visionfm check`: every error at once, or what the config would do."""

from pathlib import Path

import pytest

from visionfm.cli import main

GOOD = """\
encoders:
  fundus: {modality: Fundus, weights: w.pth}
models:
  m: {Fundus: fundus}
datasets:
  a: {modality: Fundus, root: data/a, layout: vfm, labels: [dr]}
  b: {modality: Fundus, root: data/b, layout: vfm, labels: [dr]}
tasks:
  t: {kind: classification, datasets: [a], models: [m], targets: {dr: {type: binary}}, seeds: [0, 1]}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(GOOD)
    return tmp_path / "c.yaml"


def test_a_good_config_is_summed_up_and_what_is_missing_is_said(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/b").mkdir(parents=True)
    assert main(["check", "c.yaml"]) == 0
    shown = capsys.readouterr().err.splitlines()
    assert shown.pop(0) == "dataset b: no images below data/b"
    assert shown[0] == "c.yaml: no errors. 2 datasets, 1 encoders, 1 feature caches, 1 tasks, 4 decoders."
    assert shown[1:] == [
        "dataset a: no folder data/a (relative to the working directory)",
        "encoder fundus: no file w.pth; `visionfm encoders` says who gives it out",
        "no task uses: b",
    ]


def test_a_folder_whose_files_are_no_images_is_an_error_that_says_where_images_are_sought(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/b/left").mkdir(parents=True)
    Path("data/b/left/scan.xyz").write_bytes(b"?")
    assert main(["check", "c.yaml"]) == 3
    said = capsys.readouterr().err
    assert "b: the dataset has no images; expected: image files below left/training/, left/test/, as layout vfm" in said
    assert "found: 1 files .xyz" in said


def test_several_files_are_checked_as_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("more.yaml").write_text("tasks: {t: {seeds: [0, 1, 2]}}\n")
    assert main(["check", "c.yaml", "more.yaml"]) == 0
    assert "5 decoders" in capsys.readouterr().err


def test_mistakes_end_with_exit_code_2_and_nothing_is_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(GOOD.replace("layout", "layuot").replace("type", "tipe"))
    assert main(["check", "c.yaml"]) == 2
    shown = capsys.readouterr().err
    assert "c.yaml:6: datasets.a.layuot: unknown key; did you mean 'layout'?" in shown and "c.yaml:9: " in shown
    assert [path.name for path in Path().iterdir()] == ["c.yaml"]


def test_explain_counts_images_by_class_and_says_what_is_to_be_made(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "layout: table, table: t.csv, columns: {image: file, split: part, targets: {dr: dr}}"
    config.write_text(GOOD.replace("layout: vfm, labels: [dr]", table, 1))
    rows = ["file,part,dr"]
    Path("data/a").mkdir(parents=True)
    for number in range(12):
        Path(f"data/a/{number}.png").write_bytes(b"an image by name")
        rows.append(f"{number}.png,{('train', 'validation', 'test')[number % 3]},{number % 2}")
    Path("data/a/t.csv").write_text("\n".join(rows) + "\n")
    assert main(["check", "c.yaml", "--explain"]) == 0
    shown = capsys.readouterr().out
    assert "task t, dr: test 4 images (negative 2, positive 2)" in shown
    assert "features of a by fundus: 12 images, 12 to encode in 4 views; how long and how large is known once" in shown
    assert "artefacts are to be made: datasets " in shown
