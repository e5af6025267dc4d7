"""`visionfm verify` finds damage; `visionfm forget` drops results and nothing else."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.cli import main
from visionfm.errors import ArtifactError
from visionfm.project.loading import parse_config

SMALL: dict[str, dict[str, object]] = {
    "encoders": {"fundus": {"modality": "Fundus", "weights": "random", "arch": "vit_tiny_patch16_224"}},
    "models": {},
    "datasets": {},
    "tasks": {},
}
MADE_BY = artifacts.provenance("report", {}, {})


def write(path: str) -> Path:
    artifacts.write_text(path, path, MADE_BY, schema="visionfm/x/1")
    return Path(path)


def test_whole_artefacts_pass_and_are_counted(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("results/a/x.html")
    write("results/y.html")
    Path("results/log.txt").write_text("no artefact")
    assert main(["verify", "results"]) == 0
    assert capsys.readouterr().err == "verify: 2 artefacts are as they were written\n"
    assert main(["verify", "results/.kept", "results/y.html"]) == 0
    assert "3 artefacts" in capsys.readouterr().err


def test_what_snakemake_writes_beside_them_is_no_artefact(results: Path) -> None:
    write("results/y.html")
    for name in ("benchmarks/cost.html", "logs/index/a.log.settings.json"):
        Path(f"results/{name}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"results/{name}").write_text("unsealed")
    assert main(["verify", "results"]) == main(["verify", str(Path("results").resolve())]) == 0


def test_all_damaged_and_missing_artefacts_are_listed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x", "y", "z"):
        write(f"results/{name}.html")
    for name in ("x", "z"):
        Path(f"results/{name}.html").write_text("damaged")
    assert main(["verify", "results", "results/none.html"]) == 4
    shown = capsys.readouterr().err
    assert "verify: 3 problems" in shown and all(f"results/{name}.html" in shown for name in ("x", "z", "none"))
    assert "results/y.html" not in shown


@pytest.mark.parametrize("name", ["index.html", "summary.md"])
def test_a_damaged_text_is_found_in_its_folder(name: str, results: Path) -> None:
    path = write(f"results/{name}")
    assert main(["verify", "results"]) == 0
    path.write_text(path.read_text().replace("results", "Results", 1))
    assert main(["verify", "results"]) == 4


def test_metadata_are_shown_as_json(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("results/x.html")
    assert main(["verify", "--show", "results/x.html"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["path"], shown["stage"], shown["key"]) == ("results/x.html", "report", MADE_BY.key)


def test_what_the_config_no_longer_has_is_listed_and_fails_only_where_it_is_damaged(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decoder was trained again, and then the metadata of its predictions name another one."""
    gone = results / "tasks/gone/tiny/seed0"
    for value in (0, 1):
        trained = artifacts.provenance("train", {"value": value}, {})
        decoder = gone / "decoder.safetensors"
        artifacts.write_tensors(decoder, {}, trained, schema="visionfm/decoder/1", extra={"value": str(value)})
        if not value:
            applied = artifacts.provenance("predict", {}, {"decoder": artifacts.payload_digest(decoder)})
            table = pa.table({"value": [1]})
            artifacts.write_table(gone / "predictions.parquet", table, applied, schema="visionfm/predictions/1")
    assert main(["verify", "results"]) == 4, "nothing says which config these are of"
    assert "predictions.parquet is out of date" in capsys.readouterr().err
    plan = results.parent / ".snakemake/visionfm/0.json"
    plan.parent.mkdir(parents=True)
    eyes = {"modality": "Fundus", "root": "data", "layout": "imagefolder", "export": "parquet"}
    config = parse_config({**SMALL, "datasets": {"eyes": eyes}, "models": {"m": {"Fundus": "fundus"}}})
    plan.write_text(config.model_dump_json(exclude_unset=True))
    write("results/features/fundus/eyes.cls224.parts/0123.html")  # goes with the cache, which the config has
    assert main(["verify", "results"]) == 0
    said = capsys.readouterr().err
    assert "2 of them are no longer in the config" in said and "tasks/gone/tiny/seed0/predictions.parquet" in said
    (gone / "predictions.parquet").write_bytes(b"damaged")
    assert main(["verify", "results"]) == 4


@pytest.mark.parametrize(
    "name", ["encoders/oct", "results/encoders/oct", "./results/encoders/oct/", "encoders/oct/x.html"]
)
def test_an_artefact_is_forgotten_with_its_kept_copy(name: str, results: Path) -> None:
    path, other = write("results/encoders/oct/x.html"), write("results/encoders/fundus/x.html")
    assert main(["forget", name]) == 0
    assert not path.exists() and not artifacts.recall(path, MADE_BY)
    assert other.exists() and artifacts.recall(other, MADE_BY)


def test_a_kept_copy_alone_is_forgotten_too(results: Path) -> None:
    path = write("results/encoders/oct/x.html")
    path.unlink()
    assert main(["forget", "encoders/oct"]) == 0
    assert not artifacts.recall(path, MADE_BY)


def test_a_damaged_artefact_is_forgotten_by_its_kept_copy(results: Path) -> None:
    path = write("results/encoders/oct/x.html")
    path.write_text("damaged")
    assert main(["forget", str(path)]) == 0
    assert not path.exists() and not artifacts.recall(path, MADE_BY)


def test_a_file_that_no_stage_wrote_is_never_forgotten(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("results/encoders/oct/x.html")
    mine = [Path("results/encoders/oct/notes.txt"), Path("results/weights.pth"), Path("results/encoders/notes.json")]
    for other in mine:
        other.write_text("mine")
        assert main(["forget", str(other)]) == 2
    assert "no stage wrote this" in capsys.readouterr().err
    assert main(["forget", "encoders"]) == 0
    assert not path.exists() and all(other.exists() for other in mine)
    assert "2 files that no stage wrote are left" in capsys.readouterr().err


def test_a_whole_artefact_is_forgotten_without_a_kept_copy(results: Path) -> None:
    path = write("results/encoders/oct/x.html")
    (results / ".kept/encoders/oct/x.html").unlink()
    assert main(["forget", str(path)]) == 0
    assert not path.exists()


def test_advice_fits_the_file(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("results/weights.pth").write_text("of another project")
    Path("weights.pth").write_text("of another project")
    damaged = write("results/x.html")
    damaged.write_text("damaged")
    for path, forget in (("results/weights.pth", False), ("weights.pth", False), ("results/x.html", True)):
        with pytest.raises(ArtifactError) as error:
            artifacts.read_metadata(path)
        assert ("visionfm forget" in str(error.value)) == forget


@pytest.mark.parametrize(
    "name",
    ["results", "results/", "results/../results", ".", "data", "./data", "results/../data", "../../results/run/data",
     "/", "results/.kept", "results/.kept/x.html", "none", "results/none", "", "absolute"],
)  # fmt: skip
def test_nothing_but_results_can_be_forgotten(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where the run itself lies below some folder named results."""
    run = tmp_path / "results" / "run"
    (run / "data").mkdir(parents=True)
    (run / "data" / "image.png").write_text("mine")
    monkeypatch.chdir(run)
    path = write("results/x.html")
    assert main(["forget", str(run / "data") if name == "absolute" else name]) == 2
    assert path.exists() and (run / "data" / "image.png").exists() and artifacts.recall(path, MADE_BY)
    assert "error: " in capsys.readouterr().err
