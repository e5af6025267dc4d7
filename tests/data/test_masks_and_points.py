"""Masks and points stand beside their images in labels.parquet; every mistake is named with its file, all at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionfm import artifacts
from visionfm.data.block import Split
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.layouts.rows import text_lines
from visionfm.data.listing import labels_fingerprint, list_images
from visionfm.data.settings import IndexSettings, LabelSettings
from visionfm.errors import DataError, Problems

WH = (8, 6)


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def image(path: Path, seed: int, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.random.default_rng(seed).integers(0, 256, (*WH[::-1], 3), dtype=np.uint8)
    save(path, pixels, exif=exif)


def mask(*values: int, shape: tuple[int, int] = WH[::-1]) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[0, : len(values)] = values
    return array


@contextmanager
def at_most_seconds(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(root: Path, dataset: str = "d", **keys: Any) -> list[dict[str, Any]]:
    images, out = Path(f"results/datasets/{dataset}/images.parquet"), Path(f"results/datasets/{dataset}/labels.parquet")
    settings = LabelSettings(dataset=dataset, **keys)
    index(root, images, IndexSettings(modality="Fundus", layout=settings.layout, images=settings.images))
    label(root, [images], None, out, settings)
    rows: list[dict[str, Any]] = artifacts.read_table(out).to_pylist()
    return rows


def tree(root: Path, labels: str = "png") -> None:
    """A published segmentation (or landmark) tree: four training images, one test image."""
    for number, split in enumerate(["training"] * 4 + ["test"]):
        image(root / f"set/{split}/images/{number}.png", number)
        if labels == "png":
            save(root / f"set/{split}/labels/{number}.png", mask(number % 3))
        else:
            array = np.zeros((*WH[::-1], 2), np.uint8)
            array[number % WH[1], 2, 0] = array[1, number, 1] = 1
            (root / f"set/{split}/labels").mkdir(exist_ok=True)
            np.save(root / f"set/{split}/labels/{number}.npy", array)


# --- the published trees --------------------------------------------------------------------------------------------


def test_segmentation_masks_are_partners_not_images(tmp_path: Path, results: Path) -> None:
    tree(tmp_path / "data")
    rows = run(tmp_path / "data", layout="segmentation")
    training = [f"set/training/images/{n}.png" for n in range(4)]
    assert [row["path"] for row in rows] == ["set/test/images/4.png", *training]
    last = rows[-1]
    assert last["mask_path"] == "set/training/labels/3.png" and last["mask_values"] == [0]
    assert rows[0]["mask_values"] == [0, 1] and rows[0]["split"] == "test"
    assert (last["width"], last["height"], last["orientation"]) == (8, 6, 1)
    assert len(last["mask_id"]) == 64 and "fov_path" not in last and "points" not in last


def test_only_the_folder_of_the_images_is_renamed(tmp_path: Path, results: Path) -> None:
    tree(tmp_path / "images/images")  # the published code renames every `images` of a path
    rows = run(tmp_path / "images/images", layout="segmentation")
    assert all(row["mask_path"].split("/")[2] == "labels" for row in rows)


def test_a_jpeg_image_may_have_a_png_mask(tmp_path: Path, results: Path) -> None:
    tree(tmp_path / "data")
    for file in (tmp_path / "data/set").glob("*/images/*.png"):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    assert all(row["mask_path"].endswith(".png") for row in run(tmp_path / "data", layout="segmentation"))


def test_landmarks_are_the_highest_places_of_their_channels(tmp_path: Path, results: Path) -> None:
    tree(tmp_path / "data", "npy")
    rows = run(tmp_path / "data", layout="landmark", labels=["a", "b"], columns=Columns(mm_per_px=0.5))
    assert rows[-1]["points"] == {"a": [2.0, 3.0], "b": [3.0, 1.0]} and rows[-1]["mm_per_px"] == [0.5, 0.5]


def test_a_landmark_may_be_absent_and_a_spot_counts_by_its_middle(tmp_path: Path, results: Path) -> None:
    tree(tmp_path / "data", "npy")
    array = np.zeros((*WH[::-1], 2), np.float32)
    array[2:5, 3:6, 0] = 0.5
    np.save(tmp_path / "data/set/test/labels/4.npy", array)
    assert run(tmp_path / "data", layout="landmark", labels=["a", "b"])[0]["points"] == {"a": [4.0, 3.0], "b": None}


def test_every_mistake_in_a_segmentation_tree_is_named_at_once(tmp_path: Path, results: Path) -> None:
    root = tmp_path / "data"
    tree(root)
    labels = root / "set/training/labels"
    save(labels / "0.png", mask(1, shape=(6, 7)))
    save(labels / "1.png", np.arange(144, dtype=np.uint8).reshape(6, 8, 3))
    (labels / "2.png").unlink()
    Image.fromarray(mask(1)).save(labels / "3.jpg")
    (labels / "3.png").unlink()
    save(labels / "lonely.png", mask())
    save(root / "set/training/images/5.png", np.full((6, 8, 3), 7, np.uint8))
    save(labels / "5.png", mask(1, 2, 9))
    (root / "set/test/labels/4.png").unlink()
    with pytest.raises(DataError) as caught:
        run(root, layout="segmentation", mask_values={"layers": [0, 1, 2]})
    text = str(caught.value)
    for part in (
        "set/training/labels/5.png: expected pixel values 0, 1, 2, the classes of task layers, found 9",
        "set/training/labels/0.png: expected 8 x 6 pixels, as set/training/images/0.png stores them, found 7 x 6",
        "set/training/labels/1.png: expected one channel of class indices, found 3 channels",
        "set/training/images/2.png: expected a mask of the same name, set/training/labels/2.png; found nothing",
        "set/training/labels/3.jpg: expected one channel of class indices, found a JPEG, a lossy format",
        "set/training/labels/lonely.png: expected an image of the same name below images/, found nothing",
        "set/test/images/4.png: expected a mask of the same name, set/test/labels/4.png; found nothing",
    ):
        assert part in text
    assert "7 problems" in text and not Path("results/datasets/d/labels.parquet").exists()


def test_every_mistake_in_a_landmark_tree_is_named_at_once(tmp_path: Path, results: Path) -> None:
    root = tmp_path / "data"
    tree(root, "npy")
    labels = root / "set/training/labels"
    np.save(labels / "0.npy", np.array([{"run": "code"}], dtype=object))
    np.save(labels / "1.npy", np.zeros((6, 8, 3), np.uint8))
    twice = np.zeros((6, 8, 2), np.uint8)
    twice[0, 0, 0] = twice[5, 7, 0] = 1
    np.save(labels / "2.npy", twice)
    (labels / "3.npy").write_bytes(b"no array")
    (root / "set/test/labels/4.npy").unlink()
    with pytest.raises(DataError) as caught:
        run(root, layout="landmark", labels=["a", "b"])
    text = str(caught.value)
    for part in (
        "labels/0.npy: expected an array of numbers (height, width, landmarks), found objects, which may run code",
        "labels/1.npy: expected (6, 8, 2) as the image has it, a, b, found (6, 8, 3)",
        "labels/2.npy: expected one place where a is highest, found 2 pixels in several places",
        "labels/3.npy: expected an array of numbers",
        "set/test/images/4.png: expected an array (.npy) of the same name, set/test/labels/4.npy; found nothing",
    ):
        assert part in text
    assert "5 problems" in text


def test_images_without_labels_are_listed_for_prediction(tmp_path: Path, results: Path) -> None:
    tree(tmp_path / "data")
    rows = run(tmp_path / "data", layout="segmentation", labels="none")
    assert len(rows) == 5 and rows[0]["width"] == 8 and "mask_path" not in rows[0]


# --- tables ---------------------------------------------------------------------------------------------------------

COLUMNS = Columns(image="image", subject="who", mask="mask", mask2="second", fov="fov", mm_per_px="mm",
                  points={"disc": ["dx", "dy"], "fovea": ["fx", "fy"]})  # fmt: skip
TABLE: dict[str, Any] = {"layout": "table", "table": "l.csv", "images": "images/*", "columns": COLUMNS}
HEADER = "image,who,mask,second,fov,mm,dx,dy,fx,fy"


def table(root: Path, *changes: tuple[int, int, str], orientation: int = 1) -> None:
    """Eight people with an image, two masks and two points each; `changes` are (row, column, text)."""
    rows = []
    for n in range(8):
        image(root / f"images/{n}.png", n, orientation)
        save(root / f"masks/{n}.png", mask(0, 255))
        save(root / f"second/{n}.png", mask(255))
        save(root / f"fov/{n}.png", mask(*[255] * 8))
        rows.append([f"images/{n}.png", f"p{n}", f"masks/{n}.png", f"second/{n}.png", f"fov/{n}.png", "0.25"])
        rows[-1] += ["1", "2.5", "7.5", "0"]
    for row, column, text in changes:
        rows[row][column] = text
    (root / "l.csv").write_text("\n".join([HEADER, *(",".join(row) for row in rows)]) + "\n")


@pytest.mark.parametrize(("orientation", "upright"), [(1, [0.25, 1.0]), (3, [0.25, 1.0]), (6, [1.0, 0.25])])
def test_the_size_of_a_pixel_may_differ_by_axis_and_turns_with_the_image(
    orientation: int, upright: list[float], tmp_path: Path, results: Path
) -> None:
    table(tmp_path / "data", orientation=orientation)
    sizes = {"mm_per_px": ["mm", "dx"], "points": {}}  # a column says 0.25, the other 1
    rows = run(tmp_path / "data", **TABLE | {"columns": COLUMNS.model_copy(update=sizes)})
    assert all(row["mm_per_px"] == upright for row in rows)


def test_a_table_gives_masks_field_of_view_points_and_scale(tmp_path: Path, results: Path) -> None:
    table(tmp_path / "data", (3, 3, ""), (3, 8, ""), (3, 9, ""), (3, 5, ""))
    rows = run(tmp_path / "data", **TABLE)
    assert rows[0]["mask2_path"] == "second/0.png" and rows[0]["fov_path"] == "fov/0.png"
    assert rows[0]["points"] == {"disc": [1.0, 2.5], "fovea": [7.5, 0.0]} and rows[0]["mm_per_px"] == [0.25, 0.25]
    assert rows[3]["mask2_path"] is rows[3]["mask2_id"] is rows[3]["mm_per_px"] is None
    assert rows[3]["points"] == {"disc": [1.0, 2.5], "fovea": None}
    assert rows[0]["mask_values"] == [0, 255] and len(rows) == 8


def test_points_and_masks_are_those_of_the_upright_image(tmp_path: Path, results: Path) -> None:
    table(tmp_path / "data", orientation=6)  # stored lying, shown turned by 90 degrees clockwise
    row = run(tmp_path / "data", **TABLE)[0]
    assert (row["width"], row["height"], row["orientation"]) == (6, 8, 6)
    assert row["points"] == {"disc": [2.5, 1.0], "fovea": [5.0, 7.5]}


def test_every_mistake_in_a_table_is_named_at_once(tmp_path: Path, results: Path) -> None:
    root = tmp_path / "data"
    table(root, (0, 2, "masks/nothing.png"), (1, 2, "images/1.png"), (2, 2, ""), (3, 6, "8"), (4, 7, ""), (5, 5, "-1"))
    settings = {**TABLE, "split": Split(test_subjects=["p2", "p9"])}
    with pytest.raises(DataError) as caught:
        run(root, **settings)
    text = str(caught.value)
    for part in (
        "l.csv:2: mask 'masks/nothing.png' of images/0.png: no such file",
        "l.csv:3: mask 'images/1.png' of images/1.png: it is indexed as an image too; let `images` leave it out",
        "l.csv:4: images/2.png: a test image has no mask",
        "l.csv:5: disc (8, 2.5) lies outside images/3.png, which has 8 x 6 pixels",
        "l.csv:6: disc: expected two numbers, or both cells empty, found ['1', '']",
        "l.csv:7: mm: expected more than 0 mm, found -1",
        "split.test_subjects: no image is of p9",
    ):
        assert part in text
    assert "7 problems" in text


def test_named_subjects_are_tested_and_no_others(tmp_path: Path, results: Path) -> None:
    table(tmp_path / "data")
    rows = run(tmp_path / "data", **TABLE, split=Split(test_subjects=["p1", "p6"]))
    assert [row["subject_id"] for row in rows if row["split"] == "test"] == ["d/p1", "d/p6"]
    assert {row["split"] for row in rows} == {"train", "validation", "test"}


# --- reruns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["FIFO", "a link to a FIFO", "a link to a device"])
def test_what_is_no_regular_file_among_masks_is_named_and_never_a_hang(
    what: str, tmp_path: Path, results: Path
) -> None:
    tree(tmp_path / "data")
    strange = tmp_path / "data/set/training/labels/1.png"
    strange.unlink()
    if what == "FIFO":
        os.mkfifo(strange)
    elif what == "a link to a FIFO":
        os.mkfifo(tmp_path / "pipe")
        strange.symlink_to(tmp_path / "pipe")
    else:
        strange.symlink_to("/dev/zero")
    with at_most_seconds(20), pytest.raises(DataError, match=r"1\.png") as said:
        run(tmp_path / "data", layout="segmentation")
    assert "FIFO" in str(said.value) or "device" in str(said.value)


def test_a_table_that_is_a_fifo_is_named_and_never_a_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    problems = Problems(DataError, "labels")
    with at_most_seconds(20):
        assert text_lines(tmp_path / "labels.csv", problems) == []
    assert "no regular file" in next(iter(problems))


def test_a_changed_mask_changes_fingerprint_and_labels_but_no_image(tmp_path: Path, results: Path) -> None:
    root = tmp_path / "data"
    table(root)
    arguments = (root, "table", "l.csv", "images/*", True)
    before, images = run(root, **TABLE), list_images(root, "table", "images/*")
    first = labels_fingerprint(*arguments)
    save(root / "masks/0.png", mask(255, 255))
    after = run(root, **TABLE)
    assert labels_fingerprint(*arguments) != first and list_images(root, "table", "images/*") == images
    changed = [one["path"] for one, other in zip(before, after, strict=True) if one["mask_id"] != other["mask_id"]]
    assert changed == ["images/0.png"]


def test_a_rewritten_equal_mask_leaves_the_labels_as_they_are(tmp_path: Path, results: Path) -> None:
    table(tmp_path / "data")
    run(tmp_path / "data", **TABLE)
    before = Path("results/datasets/d/labels.parquet").read_bytes()
    save(tmp_path / "data/masks/0.png", mask(0, 255))
    run(tmp_path / "data", **TABLE)
    assert Path("results/datasets/d/labels.parquet").read_bytes() == before
