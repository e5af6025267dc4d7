"""A mask may be a file per structure, and no file may mean that nothing is there: only when the config says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionfm import artifacts
from visionfm.data.columns import DenseSample
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.layouts.rows import of_parts, parts_of
from visionfm.data.settings import IndexSettings, LabelSettings
from visionfm.errors import DataError

SHAPE = (6, 8)
PEOPLE = 8
CLASSES = [[0], [1], [2]]
STRUCTURES = {"ma": "masks/{id}_MA.png", "he": "masks/{id}_HE.png"}


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def spot(column: int, width: int = 2) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[1, column : column + width] = 255
    return array


@pytest.fixture
def root(tmp_path: Path, results: Path) -> Path:
    """Microaneurysms lie in columns 0 and 1, haemorrhages in 1 and 2; person 3 has no haemorrhage, 4 nothing."""
    folder = tmp_path / "data"
    for n in range(PEOPLE):
        save(folder / f"images/{n}.png", np.random.default_rng(n).integers(0, 256, (*SHAPE, 3), dtype=np.uint8))
        if n != 4:
            save(folder / f"masks/{n}_MA.png", spot(0))
        if n not in (3, 4):
            save(folder / f"masks/{n}_HE.png", spot(1))
    rows = "".join(f"{n},masks/{n}_MA.png\n" for n in range(PEOPLE))
    (folder / "l.csv").write_text("id,ma\n" + rows)
    return folder


def run(root: Path, columns: dict[str, Any], classes: list[int] = [0, 1, 2]) -> list[dict[str, Any]]:  # noqa: B006
    settings = LabelSettings(
        dataset="d",
        layout="table",
        table="l.csv",
        images="images/*",
        columns=Columns(image="images/{id}.png", subject="id", **columns),
        mask_values={"lesions": classes},
    )
    index(root, Path("i.parquet"), IndexSettings(modality="Fundus", layout="table", images="images/*"))
    label(root, [Path("i.parquet")], None, Path("l.parquet"), settings)
    found: list[dict[str, Any]] = artifacts.read_table("l.parquet").to_pylist()
    return found


def read(root: Path, row: dict[str, Any], values: list[list[int]]) -> np.ndarray | None:
    plain = {
        name: row.get(name) for name in ("mask_path", "mask_id", "width", "height", "orientation", "path", "image_id")
    }
    nothing = dict.fromkeys(("mask2_path", "mask2_id", "fov_path", "fov_id", "mm_per_px"))
    known = {"sample_id": "s", "subject_id": "p", "dataset": "d", "split": "train", "modality": "Fundus", "points": {}}
    return DenseSample(**known, **plain, **nothing).mask(root, values)  # type: ignore[arg-type]


def test_a_file_per_structure_is_one_mask_and_the_later_structure_covers(root: Path) -> None:
    rows = run(root, {"masks": STRUCTURES, "no_mask": "background"})
    assert rows[0]["mask_path"] == "//1=masks/0_MA.png//2=masks/0_HE.png" and rows[0]["mask_values"] == [0, 1, 2]
    found = read(root, rows[0], CLASSES)
    assert found is not None and found[1].tolist() == [1, 2, 2, 0, 0, 0, 0, 0] and found.sum() == 5


def test_no_file_is_no_lesion_when_asked(root: Path) -> None:
    rows = run(root, {"masks": STRUCTURES, "no_mask": "background"})
    assert rows[3]["mask_path"] == "//1=masks/3_MA.png" and rows[3]["mask_values"] == [0, 1]
    assert rows[4]["mask_path"] == rows[4]["mask_id"] == "//" and rows[4]["mask_values"] == [0]
    found = read(root, rows[4], CLASSES)
    assert found is not None and found.shape == SHAPE and not found.any()


def test_no_file_is_a_mistake_when_nothing_is_said(root: Path) -> None:
    with pytest.raises(DataError) as raised:
        run(root, {"masks": STRUCTURES})
    text = str(raised.value)
    assert "l.csv:5: mask 'masks/3_HE.png' of images/3.png: no such file" in text and "l.csv:6: " in text


def test_one_mask_per_image_may_be_missing_too(root: Path) -> None:
    rows = run(root, {"mask": "ma", "no_mask": "background"}, [0, 255])
    assert rows[0]["mask_path"] == "masks/0_MA.png" and rows[4]["mask_path"] == "//"
    found = read(root, rows[4], [[0], [255]])
    assert found is not None and not found.any()


def test_a_changed_file_of_a_structure_is_noticed(root: Path) -> None:
    row = run(root, {"masks": STRUCTURES, "no_mask": "background"})[0]
    save(root / "masks/0_HE.png", spot(4))
    with pytest.raises(DataError, match="a mask changed while the pipeline ran"):
        read(root, row, CLASSES)


def test_a_structure_of_another_size_and_one_that_the_task_does_not_know_are_named(root: Path) -> None:
    save(root / "masks/0_HE.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(DataError) as raised:
        run(root, {"masks": STRUCTURES, "no_mask": "background"}, [0, 1])
    text = str(raised.value)
    assert "masks/0_HE.png: expected 8 x 6 pixels, upright, found 5 x 5" in text
    assert "images/1.png: expected the structures 0, 1 of task lesions, found 2" in text


def test_what_stands_for_several_files_reads_back() -> None:
    parts = [(1, "a b=c.tif"), (3, "x/y.tif")]
    assert parts_of(of_parts(parts)) == parts and parts_of(of_parts([])) == [] and parts_of("x/y.tif") is None


def test_settings_without_such_masks_keep_their_key() -> None:
    assert {"masks", "no_mask", "images"} & set(Columns(image="f").model_dump(mode="json")) == set()
