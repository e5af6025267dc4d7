"""Masks of a volume are a file, or a folder, of as many slices; each slice has its own, and counts are compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from world.volume_files import nifti, npy, npz

from visionfm import artifacts
from visionfm.data.columns import DenseSample
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.settings import IndexSettings, LabelSettings
from visionfm.errors import DataError

SHAPE, SLICES = (6, 8), 4
VALUES = [[0], [1], [2]]
Rows = list[dict[str, Any]]


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SLICES, *SHAPE)).astype(np.uint8)


def truth(seed: int) -> np.ndarray:
    """Slice i has i pixels of class 1 in its first row, and one of class 2, by the volume's number."""
    found = np.zeros((SLICES, *SHAPE), np.uint8)
    for at in range(SLICES):
        found[at, 0, :at] = 1
        found[at, 1 + seed, 5] = 2
    return found


def save(path: Path, array: np.ndarray, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
        for at, one in enumerate(array):
            Image.fromarray(one).save(path / f"{at + 1}.png")
    elif kind == ".tif":
        first, *others = [Image.fromarray(one) for one in array]
        first.save(path, save_all=True, append_images=others)
    else:
        writers = {".npy": npy, ".npz": lambda one: npz(mask=one), ".nii.gz": lambda one: nifti(one, packed=True)}
        path.write_bytes(writers[kind](array))


@pytest.fixture
def labelled(tmp_path: Path, results: Path) -> Callable[..., Rows]:
    """Three volumes of people of their own, with masks that a table names; what `masks` are is the test's."""
    root = tmp_path / "data"

    def run(
        columns: dict[str, Any] | None = None,
        lines: list[str] | None = None,
        frames: Any = "all",
        header: str = "file,patient,mask",
    ) -> Rows:
        for number in range(3):
            if not (root / f"scans/{number}.tif").exists():
                save(root / f"scans/{number}.tif", scan(number), ".tif")
        lines = lines or [f"scans/{n}.tif,{n},masks/{n}" for n in range(3)]
        (root / "t.csv").write_text("\n".join([header, *lines]))
        index(root, Path("i.parquet"), IndexSettings(modality="OCT", layout="table", images="scans/*", frames=frames))
        meant = {"image": "file", "subject": "patient", **(columns or {"mask": "mask"})}
        settings = LabelSettings(
            dataset="d", layout="table", table="t.csv", images="scans/*", columns=Columns.model_validate(meant),
            mask_values={"fluid": [0, 1, 2]}, frames=frames,
        )  # fmt: skip
        label(root, [Path("i.parquet")], None, Path("l.parquet"), settings)
        rows: Rows = artifacts.read_table("l.parquet").to_pylist()
        return rows

    return run


def mask_of(root: Path, row: dict[str, Any]) -> np.ndarray | None:
    names = ("path", "image_id", "width", "height", "orientation", "mask_path", "mask_id")
    same = {"sample_id": "s", "subject_id": "p", "dataset": "d", "split": "train", "modality": "OCT"}
    return DenseSample(**same, **{name: row[name] for name in names}).mask(root, VALUES)


@pytest.mark.parametrize("kind", ["folder", ".tif", ".npy", ".npz", ".nii.gz"])
def test_each_slice_has_the_mask_of_its_number(tmp_path: Path, labelled: Callable[..., Rows], kind: str) -> None:
    suffix = "" if kind == "folder" else kind
    for number in range(3):
        save(tmp_path / f"data/masks/{number}{suffix}", truth(number), kind)
    rows = labelled({"mask": f"masks/{{patient}}{suffix}"})
    assert [row["mask_path"] for row in rows[:4]] == [f"masks/0{suffix}#{at}" for at in range(4)]
    assert [row["mask_values"] for row in rows[:2]] == [[0, 2], [0, 1, 2]]
    assert all(
        np.array_equal(mask_of(tmp_path / "data", row), truth(at // SLICES)[at % SLICES]) for at, row in enumerate(rows)
    )


def test_of_some_frames_of_a_scan_each_has_the_mask_of_its_own_number(
    tmp_path: Path, labelled: Callable[..., Rows]
) -> None:
    for number in range(3):
        save(tmp_path / f"data/masks/{number}.tif", truth(number), ".tif")
    rows = labelled(frames={"every": 3})
    assert [row["path"] for row in rows[:2]] == ["scans/0.tif#0", "scans/0.tif#3"]
    assert [row["mask_path"] for row in rows[:2]] == ["masks/0.tif#0", "masks/0.tif#3"]


def test_a_file_for_each_structure_of_a_volume_and_no_file_for_none(
    tmp_path: Path, labelled: Callable[..., Rows]
) -> None:
    for number in range(3):
        save(tmp_path / f"data/irf/{number}.tif", 255 * (truth(number) == 1).astype(np.uint8), ".tif")
        if number:
            save(tmp_path / f"data/srf/{number}.tif", 255 * (truth(number) == 2).astype(np.uint8), ".tif")
    structures = {"irf": "irf/{patient}.tif", "srf": "srf/{patient}.tif"}
    rows = labelled({"masks": structures, "no_mask": "background"})
    assert rows[2]["mask_path"] == "//1=irf/0.tif#2" and rows[6]["mask_path"] == "//1=irf/1.tif#2//2=srf/1.tif#2"
    assert np.array_equal(mask_of(tmp_path / "data", rows[6]), truth(1)[2])
    assert np.array_equal(mask_of(tmp_path / "data", rows[2]), np.where(truth(0)[2] == 1, 1, 0))


def test_single_slices_have_masks_of_their_own(tmp_path: Path, labelled: Callable[..., Rows]) -> None:
    save(tmp_path / "data/masks/all.tif", truth(0), ".tif")
    for number in range(3):
        Image.fromarray(truth(number)[2]).save(tmp_path / f"data/masks/{number}.png")
    lines = [f"scans/{n}.tif#2,{n},masks/{n}.png" for n in range(3)] + ["scans/0.tif#1,0,masks/all.tif#3"]
    rows = labelled(lines=lines)
    assert [(row["path"], row["mask_path"]) for row in rows[:2]] == [
        ("scans/0.tif#1", "masks/all.tif#3"), ("scans/0.tif#2", "masks/0.png"),
    ]  # fmt: skip
    assert np.array_equal(mask_of(tmp_path / "data", rows[0]), truth(0)[3])


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("scans/0.tif,0,masks/0.tif", "expected 4 masks, one for each slice of scans/0.tif, found 3"),
        ("scans/0.tif,0,masks/0.png", "expected 4 masks, one for each slice of scans/0.tif, found 1"),
        ("scans/0.tif,0,masks/9.tif", "mask 'masks/9.tif' of scans/0.tif#0: no such file"),
        ("scans/0.tif,0,masks/1.tif#1", "mask 'masks/1.tif#1' is one slice, and scans/0.tif is labelled as a whole"),
        ("scans/0.tif#1,0,masks/1.tif#4", "mask 'masks/1.tif#4': expected one of 4 slices, from 0"),
        ("scans/0.tif#1,0,masks/1.tif", "masks/1.tif: expected one image in the file, found multi_frame: 4 images"),
        ("scans/0.tif#1,0,folder", "mask 'folder' of scans/0.tif#1 is a folder: name one of its slices"),
        ("scans/0.tif,0,masks/large.tif", "masks/large.tif#0: expected 8 x 6 pixels"),
        ("scans/0.tif,0,masks/half.nii.gz", "masks/half.nii.gz: expected"),
    ],
)
def test_masks_that_do_not_fit_are_named(
    tmp_path: Path, labelled: Callable[..., Rows], first: str, message: str
) -> None:
    masks = tmp_path / "data/masks"
    save(masks / "0.tif", truth(0)[:3], ".tif")
    save(masks / "large.tif", np.zeros((SLICES, 9, 9), np.uint8), ".tif")
    Image.fromarray(truth(0)[0]).save(masks / "0.png")
    save(tmp_path / "data/folder", truth(0), "folder")
    (masks / "half.nii.gz").write_bytes(nifti(truth(0), packed=True)[:60])
    for number in (1, 2):
        save(masks / f"{number}.tif", truth(number), ".tif")
    with pytest.raises(DataError) as raised:
        labelled(lines=[first, *[f"scans/{n}.tif,{n},masks/{n}.tif" for n in (1, 2)]])
    assert message in str(raised.value)


def test_points_are_of_one_slice(labelled: Callable[..., Rows]) -> None:
    columns = {"points": {"fovea": ["x", "y"]}}
    others = ["scans/1.tif#2,1,3,4", "scans/2.tif#1,2,5,1"]
    with pytest.raises(DataError, match=r"points are of one slice: name it, as in `scans/0.tif#12`"):
        labelled(columns, ["scans/0.tif,0,1,2", *others], header="file,patient,x,y")
    rows = labelled(columns, ["scans/0.tif#3,0,1,2", *others], header="file,patient,x,y")
    assert rows[0]["path"] == "scans/0.tif#3" and rows[0]["points"] == {"fovea": [1.0, 2.0]}
