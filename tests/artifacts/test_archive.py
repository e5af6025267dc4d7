"""An archive of files keeps its metadata whole, however many inputs it was made from."""

import hashlib
import json
from pathlib import Path

import pytest

from visionfm import artifacts
from visionfm.artifacts import archive

SHA = hashlib.sha256(b"").hexdigest()


def written(path: Path, inputs: dict[str, str]) -> artifacts.Provenance:
    made_by = artifacts.Provenance("predict", 1, SHA, inputs)
    with archive.writing(path, made_by, schema="visionfm/test/1") as file:
        file.add("a/b.svg", b"<svg/>")
    return made_by


@pytest.mark.parametrize("inputs", [3, 5000])
def test_an_archive_is_recalled_by_its_key_however_many_inputs_it_has(tmp_path: Path, inputs: int) -> None:
    path = tmp_path / "results/figures.zip"
    made_by = written(path, {f"results/{number}.parquet": SHA for number in range(inputs)})
    assert artifacts.recall(path, made_by)
    assert archive.Archive(path).read("a/b.svg") == b"<svg/>"


def test_inputs_too_many_for_the_comment_are_one_digest_that_tells_them_apart(tmp_path: Path) -> None:
    recorded = []
    for other in ("a", "b"):
        inputs = {f"results/{number}.parquet": SHA for number in range(5000)} | {other: SHA}
        written(tmp_path / "results/figures.zip", inputs)
        recorded.append(json.loads(artifacts.read_metadata(tmp_path / "results/figures.zip")["inputs"]))
    assert [list(one) for one in recorded] == [["5001 inputs, the sha256 of their list"]] * 2
    assert recorded[0] != recorded[1]


def test_few_inputs_stand_there_by_name(tmp_path: Path) -> None:
    made_by = written(tmp_path / "results/figures.zip", {"results/a.parquet": SHA})
    assert json.loads(artifacts.read_metadata(tmp_path / "results/figures.zip")["inputs"]) == made_by.inputs
