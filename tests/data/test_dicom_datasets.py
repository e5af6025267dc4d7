"""A dataset of DICOM files: found by name and by content, indexed, and encoded as the same pixels in PNG are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from world.dicom_files import dicom
from world.small_project import Project, write_encoder

from visionfm import artifacts
from visionfm.data.index import index
from visionfm.data.layouts.folders import files_below
from visionfm.data.settings import IndexSettings
from visionfm.errors import DataError

SETTINGS = IndexSettings(modality="Fundus", layout="table")
UID = "1.2.840.113619.2.55"


def photograph(number: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((48, 40)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs under the names that hospitals give them, and what lies beside them."""
    root = tmp_path / "data"
    root.mkdir()
    for number, name in enumerate(("a.dcm", "IM000001", UID, "B.DICOM")):
        (root / name).write_bytes(dicom(photograph(number), "RGB"))
    (root / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(50))
    (root / "README").write_text("a letter of a hospital")
    (root / "notes.1").write_text("no image")
    return root


def test_images_are_found_by_name_and_by_content(folder: Path) -> None:
    shutil.copy(folder / "README", folder / "bad.dcm")
    assert [one.path for one in files_below(folder)] == [UID, "B.DICOM", "IM000001", "a.dcm", "bad.dcm"]


def test_a_fifo_without_suffix_does_not_hold_up_the_listing(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert len(files_below(folder)) == 4


def test_features_are_those_of_the_same_pixels_in_png(folder: Path, tmp_path: Path) -> None:
    found = {}
    for kind in ("dicom", "png"):
        project = Project(tmp_path / kind)
        project.root = folder
        if kind == "png":
            project.root = tmp_path / "pictures"
            project.root.mkdir()
            for number, name in enumerate(("a", "c", "1", "b")):
                Image.fromarray(photograph(number)).save(project.root / f"{name}.png")
        write_encoder(project.encoder)
        index(project.root, project.index, SETTINGS)
        project.extract()
        with h5py.File(project.out) as cache:
            found[kind] = cache["cls"][:]
    assert len(found["dicom"]) == 4
    assert (found["dicom"] == found["png"][[0, 2, 3, 1]]).all()  # by path: UID, B, IM, a; and 1, a, b, c


def test_a_missing_library_is_said_once_and_no_index_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionfm.images.containers.container.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"1 files .dcm: install visionfm\[dicom\]"):
        index(folder, tmp_path / "images.parquet", SETTINGS)
    assert not (tmp_path / "images.parquet").exists()


def test_a_folder_of_unknown_files_says_which(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.sdb").write_bytes(b"CMDb")
    with pytest.raises(DataError, match=r"found: 7 files \.sdb"):
        index(tmp_path, tmp_path / "images.parquet", SETTINGS)


def test_the_command_reads_many_in_its_workers_and_ends(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "images.parquet"
    root.mkdir()
    for number in range(33):
        (root / f"{number:02}.dcm").write_bytes(dicom(photograph(number), "RGB"))
    (root / "cut.dcm").write_bytes(dicom(photograph(40), "RGB")[:-300])
    command = [sys.executable, "-m", "visionfm", "index", "--root", str(root), "--out", str(out), "--jobs", "2"]
    command += ["--settings", SETTINGS.model_dump_json()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    status = artifacts.read_table(out)["status"].to_pylist()
    assert status.count("ok") == 33 and status[-1].startswith("truncated: DICOM")
