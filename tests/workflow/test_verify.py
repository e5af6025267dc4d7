"""A run that ended well passes `visionfm verify`, the page of cost beside it; what is put in its place does not."""

import subprocess
from pathlib import Path

import pytest
from rerun_project import Project, assert_same

from visionfm import artifacts, cli
from visionfm.artifacts import tree


def test_all_results_of_a_run_are_as_they_were_written(finished: Project) -> None:
    assert (finished.folder / "results/benchmarks/cost.html").is_file()
    command = [str(finished.commands / "visionfm"), "verify", "results"]
    done = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, check=False)
    (finished.folder / "calls.log").unlink()
    assert done.returncode == 0 and "artefacts are as they were written" in done.stderr, done.stderr
    assert "no longer in the config" not in done.stderr
    artefacts = [path for path in finished.folder.glob("results/**/*") if path.suffix in SUFFIXES and sealed(path)]
    assert [path for path in artefacts if tree.owner(path) == {} and "report" not in path.parts] == [], "known places"
    assert len(artefacts) > 20


SUFFIXES = (".parquet", ".h5", ".safetensors", ".zip", ".json", ".html", ".md")


def sealed(path: Path) -> bool:
    below = path.parts[path.parts.index("results") + 1]
    return below not in ("benchmarks", "logs", ".kept")


def test_what_was_put_in_an_artefacts_place_stops_the_run_and_is_found(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predictions of an earlier decoder, and another run's, put where a run's lie: both are whole."""
    run = project.folder / "results/tasks/sick_a/tiny/seed0"
    predictions, earlier = (
        run / "predictions.parquet",
        tmp_path / run.relative_to(project.folder) / "predictions.parquet",
    )
    clean = project.results()
    inputs = {"decoder": "0" * 64, "samples": artifacts.payload_digest(run.parent / "samples.parquet")}
    made_by = artifacts.provenance("predict", {}, inputs)
    artifacts.write_table(earlier, artifacts.read_table(predictions), made_by, schema="visionfm/predictions/1")
    others = {
        "not what was written here last": earlier,
        "belongs elsewhere": run.with_name("logreg") / predictions.name,
    }
    monkeypatch.chdir(project.folder)
    for why, other in others.items():
        content = other.read_bytes()
        predictions.unlink()
        predictions.write_bytes(content)
        capsys.readouterr()
        assert cli.main(["verify", "results"]) == 4
        assert (
            f"predictions.parquet: predictions.parquet {'is ' if why[0] == 'n' else ''}{why}" in capsys.readouterr().err
        )
        stopped = project.run(fails=True)  # whoever reads them
        assert "evaluate" in {call.stage for call in stopped} <= {"evaluate", "compare"}
        assert all(why in call.log and "delete it and run again" in call.log for call in stopped)
        predictions.unlink()
        assert {call.stage for call in project.run() if not call.unchanged} == set()
        assert_same(project.results(), clean)


def test_describing_the_study_writes_the_paper_again_and_the_page_where_it_names_that(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project.config
    project.config = {**config, "study": {"ethics": "Approved."}}
    assert [call.stage for call in project.run() if not call.unchanged] == ["paper"]
    assert project.run() == []
    first = project.results()
    monkeypatch.chdir(project.folder)
    assert cli.main(["verify", "results"]) == 0
    project.config = {**config, "study": {"ethics": "Approved.", "title": "Eyes of two clinics"}}
    assert sorted(call.stage for call in project.run() if not call.unchanged) == ["paper", "report"]
    assert "Eyes of two clinics." in (project.folder / "results/report/index.html").read_text()
    project.config = {**config, "study": {"ethics": "Approved."}}
    project.run()
    assert_same(project.results(), first)


def test_the_same_config_from_nothing_elsewhere_gives_the_same_bytes_of_all_files(
    fresh: Project, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**project.config, "study": {"ethics": "Approved."}}
    project.config = config
    project.run()
    for name, value in {"TZ": "Asia/Tokyo", "USER": "else", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    elsewhere = fresh.copy(tmp_path / "another folder")
    elsewhere.config = config
    elsewhere.run("--cores", "1")
    assert any(name.startswith("report/paper/") for name in elsewhere.results())
    assert_same(elsewhere.results(), project.results())
