"""Artefacts that do not fit memory: HDF5 files in reserved space, archives of small files."""

import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visionfm import artifacts
from visionfm.artifacts import archive as artifact_archive
from visionfm.artifacts import formats as artifact_formats
from visionfm.artifacts import large as artifact_large
from visionfm.errors import ArtifactError, DataError, UsageError

MADE_BY = artifacts.provenance("extract", {}, {})
NAMES = {"path": ["a.png", "b.png"]}


def write(path: Path, value: float = 1.5, rows: int = 2) -> bytes:
    layout = artifact_large.Layout((rows, 3, 5), "float16")
    with artifact_large.writing(path, "patches", layout, NAMES, MADE_BY, schema="s/1", extra={"note": "x"}) as patches:
        patches[:] = value
    return path.read_bytes()


def test_a_large_file_reads_back_checked_and_is_kept(results: Path) -> None:
    path = results / "x.h5"
    assert write(path) == write(path), "equal content, equal bytes"
    arrays, metadata = artifacts.read_hdf5(path)
    assert (arrays["patches"] == 1.5).all() and list(arrays["path"]) == NAMES["path"]
    patches = np.full((2, 3, 5), 1.5, np.float16)
    assert metadata["payload_sha256"] == artifact_formats.arrays_digest({**NAMES, "patches": patches}, {"note": "x"})
    assert (artifact_large.mapped(path, "patches") == 1.5).all()
    path.unlink()
    assert artifacts.recall(path, MADE_BY) and path.is_file()


def test_a_large_file_without_rows_is_a_valid_artefact(results: Path) -> None:
    write(results / "x.h5", rows=0)
    assert artifact_large.mapped(results / "x.h5", "patches").shape == (0, 3, 5)


def test_one_changed_byte_of_a_large_file_is_found(results: Path) -> None:
    data = bytearray(write(results / "x.h5"))
    data[-1] ^= 1
    (results / "x.h5").write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        artifacts.read_metadata(results / "x.h5")


def test_a_full_disk_is_found_before_a_row_is_written(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write(results / "x.h5")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match="disk is full"):
        write(results / "x.h5", 2.5)
    assert (results / "x.h5").read_bytes() == before and not list(results.glob(".*.tmp"))


def test_an_error_while_rows_are_written_leaves_the_old_file(results: Path) -> None:
    before = write(results / "x.h5")
    layout = artifact_large.Layout((1, 2), "float32")
    with (
        pytest.raises(KeyError),
        artifact_large.writing(results / "x.h5", "rows", layout, {}, MADE_BY, schema="s/1", extra={}),
    ):
        raise KeyError
    assert (results / "x.h5").read_bytes() == before and not list(results.glob(".*.tmp"))


def archive(path: Path, **files: bytes) -> bytes:
    with artifact_archive.writing(path, MADE_BY, schema="masks/1", extra={"n": "1"}) as writer:
        for name, data in files.items():
            writer.add(f"eyes/{name}.png", data)
    return path.read_bytes()


def test_an_archive_is_a_plain_zip_checked_and_equal_for_equal_files(results: Path) -> None:
    path = results / "masks.zip"
    assert archive(path, a=b"1", b=b"22") == archive(path, a=b"1", b=b"22")
    found = artifact_archive.Archive(path)
    assert found.names == ["eyes/a.png", "eyes/b.png"] and found.read("eyes/b.png") == b"22"
    assert found.metadata["n"] == "1" and zipfile.ZipFile(path).testzip() is None
    first = artifacts.payload_digest(path)
    archive(path, a=b"1", b=b"23")
    assert artifacts.payload_digest(path) != first
    with pytest.raises(ArtifactError, match="lacks a file"):
        artifact_archive.Archive(path).read("eyes/c.png")


@pytest.mark.parametrize("at", [40, -80, -1])
def test_a_damaged_archive_is_found(results: Path, at: int) -> None:
    data = bytearray(archive(results / "masks.zip", a=b"1" * 99))
    data[at] ^= 1
    (results / "masks.zip").write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        artifact_archive.Archive(results / "masks.zip")


def below(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder but for the marker: relative path -> content."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != artifact_archive.MARKER]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_unpacked_files_follow_the_archive_and_files_of_others_stay(results: Path) -> None:
    zipped, folder = results / "masks.zip", results / "masks"
    archive(zipped, a=b"1", b=b"22")
    artifact_archive.unpack(zipped, folder)
    (folder / "mine.txt").write_bytes(b"note")
    archive(zipped, b=b"33")
    artifact_archive.unpack(zipped, folder)
    assert below(folder) == {"eyes/b.png": b"33", "mine.txt": b"note"}
    marker = (folder / artifact_archive.MARKER).read_bytes()
    artifact_archive.unpack(zipped, results / "again")
    assert (results / "again" / artifact_archive.MARKER).read_bytes() == marker, "as after a clean run"


def test_a_folder_named_results_is_no_leave_to_fill_a_users_folder(results: Path) -> None:
    zipped, folder = results / "photos.zip", results / "photos"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(b"a photograph")
    with pytest.raises(UsageError, match="files of yours"):
        artifact_archive.check_folder(zipped)
    archive(zipped, a=b"1")
    artifact_archive.check_folder(zipped)  # one of a run before there were markers


def test_a_folder_of_a_user_is_refused_and_an_empty_or_unpacked_one_is_not(tmp_path: Path) -> None:
    zipped, folder = tmp_path / "photos.zip", tmp_path / "photos"
    artifact_archive.check_folder(zipped)
    folder.mkdir()
    artifact_archive.check_folder(zipped)
    archive(zipped, a=b"1")
    artifact_archive.unpack(zipped, folder)
    artifact_archive.check_folder(zipped)
    (folder / artifact_archive.MARKER).unlink()
    with pytest.raises(UsageError, match="files of yours"):
        artifact_archive.check_folder(zipped)
    with pytest.raises(UsageError, match="zip"):
        artifact_archive.check_folder(folder)


@pytest.mark.parametrize("name", ["../out.png", "eyes/../../out.png", "/tmp/out.png", "eyes//a.png", "link/a.png", "."])
def test_a_sealed_archive_writes_nothing_outside_its_folder(results: Path, name: str) -> None:
    zipped, folder = results / "masks.zip", results / "masks"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(results)
    with artifact_archive.writing(zipped, MADE_BY, schema="masks/1") as writer:
        writer.add("a.png", b"good")
        writer.add(name, b"bad")
    before = below(results)
    with pytest.raises(ArtifactError, match="outside its folder"):
        artifact_archive.unpack(zipped, folder)
    assert below(results) == before, "nothing was written at all"
