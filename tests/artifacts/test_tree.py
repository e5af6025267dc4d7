"""An artefact is read where it belongs: of its place's kind and owner, the last one, made of what lies there."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.errors import ArtifactError

RUN = Path("results/tasks/sick/tiny/seed0")
PREDICTIONS = RUN / "predictions.parquet"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: Path, value: int, stage: str, schema: str, **inputs: Path | str) -> Path:
    digests = {name: artifacts.payload_digest(one) if isinstance(one, Path) else one for name, one in inputs.items()}
    made_by = artifacts.provenance(stage, {"value": value}, digests)
    if path.suffix == ".safetensors":
        artifacts.write_tensors(path, {}, made_by, schema=schema, extra={"value": str(value)})
    else:
        artifacts.write_table(path, pa.table({"value": [value]}), made_by, schema=schema)
    return path


def decoder(value: int = 0, run: Path = RUN) -> Path:
    return write(run / "decoder.safetensors", value, "train", "visionfm/decoder/1")


def predictions(value: int = 0, run: Path = RUN) -> Path:
    inputs = {"decoder": run / "decoder.safetensors"}
    return write(run / "predictions.parquet", value, "predict", "visionfm/predictions/1", **inputs)


@pytest.fixture
def tree() -> None:
    for run in (RUN, Path("results/tasks/sick/tiny/seed1"), Path("results/tasks/other/tiny/seed0")):
        decoder(len(run.parts[2]), run)
        predictions(run=run)


def refused(path: Path, what: str) -> None:
    for read in (artifacts.read_table, artifacts.payload_digest, artifacts.read_metadata):
        with pytest.raises(ArtifactError, match=what):
            read(path)


def test_what_belongs_is_read_and_says_whose_it_is(tree: None) -> None:
    metadata = artifacts.read_metadata(PREDICTIONS, "visionfm/predictions/1")
    assert json.loads(metadata["owner"]) == {"task": "sick", "model": "tiny", "run": "seed0"}


@pytest.mark.parametrize("kept", [True, False])
def test_another_tasks_or_runs_artefact_is_refused(tree: None, kept: bool) -> None:
    for other in ("results/tasks/other/tiny/seed0", "results/tasks/sick/tiny/seed1"):
        PREDICTIONS.unlink()
        PREDICTIONS.write_bytes((Path(other) / PREDICTIONS.name).read_bytes())
        if not kept:
            (Path("results/.kept") / PREDICTIONS.relative_to("results")).unlink(missing_ok=True)
        refused(PREDICTIONS, "belongs elsewhere")


def test_an_older_one_put_back_is_refused_though_it_is_whole_and_of_the_same_inputs(tree: None) -> None:
    before = PREDICTIONS.read_bytes()
    predictions(1)
    PREDICTIONS.unlink()
    PREDICTIONS.write_bytes(before)
    refused(PREDICTIONS, "not what was written here last")


def test_an_older_one_is_refused_without_a_kept_copy_by_what_it_was_made_from(tree: None) -> None:
    before = PREDICTIONS.read_bytes()
    decoder(7)
    predictions(1)
    artifacts.read_table(PREDICTIONS)
    (Path("results/.kept") / PREDICTIONS.relative_to("results")).unlink()
    PREDICTIONS.unlink()
    PREDICTIONS.write_bytes(before)
    refused(PREDICTIONS, "out of date: it was made from another `decoder`")


@pytest.mark.parametrize(
    ("stage", "schema"),
    [("predict", "visionfm/metrics/1"), ("predict", ""), ("fuse", "visionfm/predictions/1"), ("predict", "x")],
)
def test_sealed_again_with_a_foreign_schema_or_stage_it_is_refused(stage: str, schema: str) -> None:
    write(PREDICTIONS, 0, stage, schema)
    refused(PREDICTIONS, "another kind of artefact")


def test_a_reader_names_the_schema_that_it_knows_wherever_the_file_lies() -> None:
    path = write(Path("mine.parquet"), 0, "predict", "visionfm/predictions/2")
    artifacts.read_table(path)
    with pytest.raises(ArtifactError, match="one of another version"):
        artifacts.read_table(path, schema="visionfm/predictions/1")


def test_inputs_that_no_longer_lie_there_and_files_of_no_known_place_say_nothing_against_it(tree: None) -> None:
    (RUN / "decoder.safetensors").unlink()
    artifacts.read_table(PREDICTIONS)
    copy = Path("results/mine/predictions.parquet")
    copy.parent.mkdir()
    copy.write_bytes(PREDICTIONS.read_bytes())
    artifacts.read_table(copy)


def test_a_recalled_artefact_is_the_last_one_again(tree: None) -> None:
    """Where the file itself has the key and its kept copy another, the file is kept."""
    before = PREDICTIONS.read_bytes()
    made_by = artifacts.provenance("predict", {"value": 0}, json.loads(artifacts.read_metadata(PREDICTIONS)["inputs"]))
    predictions(1)
    PREDICTIONS.unlink()
    PREDICTIONS.write_bytes(before)
    assert artifacts.recall(PREDICTIONS, made_by)
    artifacts.read_table(PREDICTIONS)


@pytest.mark.parametrize("inputs", ["", "no JSON", "[]", "[" * 100_000])
def test_senseless_metadata_are_an_error(inputs: str, sealed_with: Callable[..., Path]) -> None:
    refused(sealed_with(PREDICTIONS, inputs=inputs), "does not say what it was made from")


def test_an_artefact_that_does_not_say_whose_it_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from visionfm.artifacts import tree

    with monkeypatch.context() as patch:
        patch.setattr(tree, "owner", lambda path: {})
        write(PREDICTIONS, 0, "predict", "visionfm/predictions/1")
    refused(PREDICTIONS, "belongs elsewhere")


@pytest.fixture
def sealed_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write an artefact whose metadata were changed before it was sealed."""
    from visionfm.artifacts import artifact

    def write_so(path: Path, **changed: str) -> Path:
        whole = artifact.unsealed_metadata
        with monkeypatch.context() as patch:
            patch.setattr(artifact, "unsealed_metadata", lambda *args: {**whole(*args), **changed})
            return write(path, 0, "predict", "visionfm/predictions/1")

    return write_so
