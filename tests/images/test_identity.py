"""An image is named by its file and its frame: one function makes the name, and reading believes it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionfm.errors import DataError
from visionfm.images.identity import file_id, file_path, frame_of, image_id_of, row_path
from visionfm.images.reading import inspect, read_checked
from visionfm.images.settings import Reading

SHA = "ab" * 32


def test_a_file_that_is_one_image_is_named_by_its_digest_alone() -> None:
    assert image_id_of(SHA) == file_id(SHA) == SHA and frame_of(SHA) is None
    assert row_path("a/b.png") == file_path("a/b.png", SHA) == "a/b.png"


def test_frames_of_a_volume_have_names_of_their_own_and_one_file() -> None:
    names = [image_id_of(SHA, frame) for frame in range(3)]
    assert len(set(names)) == 3 and {file_id(name) for name in names} == {SHA}
    assert [frame_of(name) for name in names] == [0, 1, 2]
    paths = [row_path("scan.tif", frame) for frame in range(3)]
    assert len(set(paths)) == 3
    assert {file_path(path, name) for path, name in zip(paths, names, strict=True)} == {"scan.tif"}


def test_a_number_sign_in_a_files_own_name_is_no_frame() -> None:
    assert file_path("eye#1.png", SHA) == "eye#1.png"
    assert file_path(row_path("eye#1.png", 1), image_id_of(SHA, 1)) == "eye#1.png"


@pytest.fixture
def pages(tmp_path: Path) -> str:
    """A file of three grey pages; returns its digest."""
    frames = [Image.fromarray(np.full((8, 9), 50 * page, np.uint8)) for page in range(3)]
    frames[0].save(tmp_path / "scan.tif", save_all=True, append_images=frames[1:])
    return hashlib.sha256((tmp_path / "scan.tif").read_bytes()).hexdigest()


def test_a_row_is_read_by_the_frame_that_its_id_names(tmp_path: Path, pages: str) -> None:
    for frame in range(3):
        row = row_path("scan.tif", frame), image_id_of(pages, frame)
        assert (read_checked(tmp_path, *row, Reading()) == 50 * frame).all()
    with pytest.raises(DataError, match="no_frame"):
        read_checked(tmp_path, row_path("scan.tif", 3), image_id_of(pages, 3), Reading())
    with pytest.raises(DataError, match="changed since index"):
        read_checked(tmp_path, row_path("scan.tif", 1), image_id_of(SHA, 1), Reading())


def test_the_frame_that_a_dataset_picks_leaves_the_id_as_it_is(tmp_path: Path, pages: str) -> None:
    facts = inspect(tmp_path / "scan.tif", Reading(frame=2))
    assert facts.status == "ok" and facts.image_id == pages and facts.frames == 3
    assert (read_checked(tmp_path, "scan.tif", pages, Reading(frame=2)) == 100).all()
    with pytest.raises(DataError, match="multi_frame"):
        read_checked(tmp_path, "scan.tif", pages, Reading())
