"""`visionfm embed` needs images and an encoder, and nothing else."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from world.small_project import WIDTH, Project

from visionfm import artifacts
from visionfm.errors import DataError, UsageError
from visionfm.features import embed
from visionfm.features.cache import read_cache


def run(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    embed.add_arguments(parser)
    embed.main(parser.parse_args([str(argument) for argument in (*arguments, "--workers", 0, "--device", "cpu")]))


def test_a_folder_becomes_the_same_cache_as_the_stage_writes(project: Project, tmp_path: Path) -> None:
    run(project.root, "--encoder", project.encoder, "--out", tmp_path / "features.h5")
    project.extract()
    found, expected = read_cache(tmp_path / "features.h5"), read_cache(project.out)
    assert (found.paths, found.image_ids, found.views) == (expected.paths, expected.image_ids, expected.views)
    np.testing.assert_array_equal(found.cls_NVLD, expected.cls_NVLD)
    np.testing.assert_array_equal(found.patch_mean_NVD, expected.patch_mean_NVD)
    assert [path.name for path in tmp_path.glob("*.parts")] == []


def test_a_parquet_output_holds_the_flat_table_alone(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "new/features.parquet"
    run(project.root, "--encoder", project.encoder, "--out", out, "--modality", "fundus", "--views", "identity", "h")
    table = artifacts.read_table(out)
    assert table.num_rows == 10
    assert table.num_columns == 3 + 5 * WIDTH
    assert [path.name for path in out.parent.iterdir()] == ["features.parquet"]


def test_single_files_are_named_from_the_folder_they_share(project: Project, tmp_path: Path) -> None:
    files = [project.root / "eyes/003.png", project.root / "eyes/000.jpg"]
    run(*files, files[0], "--encoder", project.encoder, "--out", tmp_path / "features.h5")
    assert read_cache(tmp_path / "features.h5").paths == ["000.jpg", "003.png"]


def test_a_second_run_with_one_more_image_encodes_one(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "visionfm")
    kept_back = (project.root / "eyes/004.jpg").rename(tmp_path / "004.jpg")
    arguments = (project.root, "--encoder", project.encoder, "--out", tmp_path / "features.h5")
    run(*arguments)
    kept_back.rename(project.root / "eyes/004.jpg")
    run(*arguments)
    assert "encoded 1, reused 4" in caplog.text


def test_what_cannot_be_embedded_is_said_before_the_encoder_is_loaded(project: Project, tmp_path: Path) -> None:
    common = ("--encoder", project.encoder, "--out", tmp_path / "features.h5")
    (project.root / "eyes/005.png").write_bytes(b"")
    with pytest.raises(DataError, match="eyes/005.png: empty"):
        run(project.root, *common)
    run(project.root, *common, "--skip-bad-images")
    assert len(read_cache(tmp_path / "features.h5").paths) == 5
    with pytest.raises(UsageError, match="another modality"):
        run(project.root / "eyes/000.jpg", *common, "--modality", "oct")
    with pytest.raises(UsageError, match=r"\.h5 or \.parquet"):
        run(project.root, "--encoder", project.encoder, "--out", tmp_path / "features.csv")
    with pytest.raises(DataError, match="missing"):
        run(tmp_path / "nowhere", *common)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        run(tmp_path / "empty", *common)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="not an image file"):
        run(tmp_path / "notes.txt", *common)


def test_a_published_checkpoint_is_converted_on_the_way(project: Project, tmp_path: Path) -> None:
    from world.checkout import SHARED, golden_weights

    golden_weights()  # skips where there are none
    checkpoint = SHARED / "golden" / "visionfm_vit_tiny_teacher.pth"
    image = project.root / "eyes/000.jpg"
    with pytest.raises(UsageError, match="--modality"):
        run(image, "--encoder", checkpoint, "--out", tmp_path / "features.h5")
    run(image, "--encoder", checkpoint, "--modality", "Fundus", "--out", tmp_path / "features.h5")
    assert read_cache(tmp_path / "features.h5").cls_NVLD.shape == (1, 1, 4, WIDTH)
