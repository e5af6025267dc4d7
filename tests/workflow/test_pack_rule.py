"""The pack of a dataset in the workflow: an edit copies what is there and ends in the bytes of a clean run."""

import shutil
from pathlib import Path

from rerun_project import Project, assert_same, draw

INDEX = "results/packs/a/64px.parquet"


def packs(project: Project) -> dict[str, bytes]:
    return {path: content for path, content in project.results().items() if path.startswith("packs/")}


def test_an_added_image_is_decoded_alone_and_a_lost_pack_is_brought_back(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    config = project.config
    config["datasets"]["a"]["pack"] = {"size": 64}
    project.config = config
    assert INDEX in project.snakemake("-n").stdout
    assert [call.stage for call in project.run(INDEX)] == ["index", "pack"]
    assert project.run(INDEX) == []
    draw(project.folder / "a/img/new.png", 77, False)
    index, pack = project.run(INDEX)
    assert "read 1, reused 48" in index.log and "pack: read 1, reused 48 images" in pack.log
    expected = packs(project)
    for path in (project.folder / "results/packs/a").iterdir():
        path.unlink()
    assert [call.unchanged for call in project.run(INDEX)] == [True]
    assert_same(packs(project), expected)
    shutil.rmtree(project.folder / "results")
    shutil.rmtree(project.folder / ".snakemake")
    project.run(INDEX)
    assert_same(packs(project), expected)
