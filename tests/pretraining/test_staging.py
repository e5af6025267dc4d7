"""Packs on a node's own disk are the same packs; without room for them they are read where they lie."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from world.image_sets import ImageSet, source_of

from visionfm.pretraining.reading import read_pixels
from visionfm.pretraining.source import ImageSource
from visionfm.pretraining.staging import on_local_disk


@pytest.fixture
def source(results: Path) -> ImageSource:
    eyes = ImageSet(results.parent)
    eyes.pack()
    return source_of(eyes, packed=True)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's disk, asked for."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.setenv("VISIONFM_STAGE", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def files(source: ImageSource) -> set[str]:
    return {item.place.file for item in source.items}


def test_images_are_read_from_the_copies_and_are_the_same(source: ImageSource, local: Path) -> None:
    staged = on_local_disk(source)
    assert files(staged) and all(Path(file).is_relative_to(local) for file in files(staged))
    for here, there in zip(staged.items, source.items, strict=True):
        np.testing.assert_array_equal(read_pixels(here, staged.files, None), read_pixels(there, source.files, None))
    assert staged.image_ids == source.image_ids


def test_a_whole_copy_is_used_again_and_a_cut_one_is_made_anew(source: ImageSource, local: Path) -> None:
    (copy,) = (Path(file) for file in files(on_local_disk(source)))
    whole, made = copy.read_bytes(), copy.stat().st_ino
    on_local_disk(source)
    assert copy.stat().st_ino == made
    copy.write_bytes(whole[:-1])
    on_local_disk(source)
    assert copy.read_bytes() == whole
    assert not list(copy.parent.glob(".copy-*"))


def test_a_full_disk_leaves_them_where_they_lie(
    source: ImageSource, local: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    assert files(on_local_disk(source)) == files(source)
    assert "read where they lie" in caplog.text


def test_nothing_is_copied_unless_asked_for(source: ImageSource, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISIONFM_STAGE")
    assert on_local_disk(source) is source
    assert not list(local.iterdir())
