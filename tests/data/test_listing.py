"""What a layout reads as images, and what tells that they changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from visionfm.data.layouts import folders
from visionfm.data.layouts.folders import vfm_folders
from visionfm.data.listing import images_fingerprint, label_files, labels_fingerprint, list_images
from visionfm.errors import DataError

Draw = Callable[..., Path]


def paths(root: Path, layout: str = "table", pattern: str | None = None) -> list[str]:
    return [entry.path for entry in list_images(root, layout, pattern)]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_a_vfm_root_is_itself_a_dataset_or_holds_datasets(tmp_path: Path) -> None:
    touch(tmp_path, "many/A/training/1.jpg", "many/B/test/sub/2.png", "many/.hidden/test/3.png", "many/notes.txt")
    touch(tmp_path, "one/training/1.jpg", "one/test/2.jpg", "one/extra/3.jpg")
    assert [folder.name for folder in vfm_folders(tmp_path / "many")] == ["A", "B"]
    assert vfm_folders(tmp_path / "one") == [tmp_path / "one"]
    assert paths(tmp_path / "many", "vfm") == ["A/training/1.jpg", "B/test/sub/2.png"]
    assert paths(tmp_path / "one", "vfm") == ["test/2.jpg", "training/1.jpg"]


def test_only_image_files_count_in_any_case_and_hidden_ones_never(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.JPG", "a/2.tiff", "a/labels.csv", ".x/3.png", "a/.4.png", "a/5.sdb", "6.webp", "a/7.png.txt")
    assert paths(tmp_path) == ["6.webp", "a/2.tiff", "b/1.JPG"]


def test_a_glob_limits_what_belongs_to_the_dataset(tmp_path: Path) -> None:
    touch(tmp_path, "images/a/1.png", "images/2.png", "masks/2.png")
    assert paths(tmp_path, pattern="images/*") == ["images/2.png", "images/a/1.png"]
    assert paths(tmp_path, pattern="*/2.png") == ["images/2.png", "masks/2.png"]
    assert paths(tmp_path, pattern="nothing/*") == []


def test_linked_files_and_folders_are_read_and_a_circle_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path, "root/a/1.png", "store/2.png")
    (tmp_path / "root/b").symlink_to(tmp_path / "store")
    (tmp_path / "root/a/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/linked.png").symlink_to(tmp_path / "store/2.png")
    (tmp_path / "root/broken.png").symlink_to(tmp_path / "nowhere.png")
    found = {entry.path: entry.bytes for entry in list_images(tmp_path / "root", "table")}
    assert list(found) == ["a/1.png", "b/2.png", "broken.png", "linked.png"]
    assert found["linked.png"] == found["b/2.png"] == len("store/2.png")


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x.png/1.png")
    assert paths(tmp_path) == ["x.png/1.png"]


def test_a_fifo_is_listed_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert paths(tmp_path) == ["x.png"]


def test_a_missing_root_is_a_data_error(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for root, found in ((tmp_path / "none", "nothing"), (tmp_path / "file", "a file")):
        with pytest.raises(DataError, match="folder is missing") as raised:
            list_images(root, "table")
        assert f"found: {found}" in str(raised.value)


def test_a_folder_that_cannot_be_read_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders.os, "scandir", refused)
    with pytest.raises(DataError, match="cannot be read"):
        list_images(tmp_path, "table")


@pytest.mark.parametrize("watch", ["files", "folders"])
def test_an_added_or_removed_image_changes_the_fingerprint(watch: str, tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "a/1.png")
    os.utime(tmp_path / "a", (1, 1))

    def fingerprint() -> str:
        return images_fingerprint(tmp_path, "table", None, watch)

    first = fingerprint()
    assert fingerprint() == first
    draw(tmp_path / "a/2.png")
    second = fingerprint()
    (tmp_path / "a/2.png").unlink()
    os.utime(tmp_path / "a", (1, 1))
    assert second != first == fingerprint()


def test_a_file_that_is_no_image_changes_no_fingerprint_of_files(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "1.png")
    before = images_fingerprint(tmp_path, "table", None, "files")
    touch(tmp_path, "labels.csv", ".2.png")
    assert images_fingerprint(tmp_path, "table", None, "files") == before
    os.utime(tmp_path / "1.png", (1, 1))
    assert images_fingerprint(tmp_path, "table", None, "files") != before


def test_an_unwatched_or_missing_folder_has_a_constant_fingerprint(tmp_path: Path, draw: Draw) -> None:
    assert images_fingerprint(tmp_path / "none", "vfm", None, "files") == "missing"
    before = images_fingerprint(tmp_path, "table", None, "none")
    draw(tmp_path / "1.png")
    assert images_fingerprint(tmp_path, "table", None, "none") == before


def test_label_files_are_those_of_the_layout(tmp_path: Path) -> None:
    touch(tmp_path, "A/training/1.png", "B/test_labels.txt")
    names = [path.relative_to(tmp_path).as_posix() for path in label_files(tmp_path, "vfm", None)]
    assert names == [f"{d}/{s}_labels.txt" for d in "AB" for s in ("training", "test")]
    assert label_files(tmp_path, "imagefolder", None) == [] == label_files(tmp_path, "table", None)
    assert label_files(tmp_path, "table", "../l.csv") == [tmp_path / "../l.csv"]


@pytest.mark.parametrize("table", ["l.csv", "../l.csv", "absolute"])
def test_an_edited_table_changes_the_labels_fingerprint_wherever_it_lies(table: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    name = str(tmp_path / "l.csv") if table == "absolute" else table
    missing = labels_fingerprint(root, "table", name)
    (root / name).write_text("a")
    first = labels_fingerprint(root, "table", name)
    (root / name).write_text("ab")
    assert len({missing, first, labels_fingerprint(root, "table", name)}) == 3
