"""Drawn masks and points are exact, lie in the published trees, and are read back as they were drawn."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.settings import IndexSettings, LabelSettings
from visionfm.errors import UsageError
from visionfm.synthetic.dataset import write_dataset
from visionfm.synthetic.partners import MASKS, POINTS


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tasks, four people each."""
    folder = tmp_path_factory.mktemp("drawn")
    for task in ("segmentation", "landmark"):
        write_dataset(task, folder / task, number=2, size=128)
    return folder


def labels(folder: Path, **keys) -> list[dict]:
    from visionfm import artifacts

    settings = LabelSettings(dataset="d", **keys)
    index(folder, Path("results/datasets/d/images.parquet"), IndexSettings(modality="Fundus", layout=settings.layout))
    out = Path("results/datasets/d/labels.parquet")
    label(folder, [Path("results/datasets/d/images.parquet")], None, out, settings)
    return artifacts.read_table(out).to_pylist()


@pytest.mark.parametrize("modality", ["VesselSegmentation", "OCTSegmentation", "FFASegmentation"])
def test_masks_lie_in_the_published_tree_and_hold_every_class(modality: str, drawn: Path, results: Path) -> None:
    rows = labels(drawn / "segmentation" / modality, layout="segmentation")
    assert {row["split"] for row in rows} == {"train", "validation", "test"} and len(rows) >= 6
    values = {value for row in rows for value in row["mask_values"]}
    assert values == set(range(1 + len(MASKS[{"V": "Fundus", "O": "OCT", "F": "FFA"}[modality[0]]])))


def test_vessels_are_darker_than_their_surroundings_and_inside_the_view(drawn: Path) -> None:
    for file in (drawn / "segmentation/VesselSegmentation/dataset_A").glob("*/images/*.png"):
        image = np.asarray(Image.open(file)).astype(float)[..., 1]
        mask = np.asarray(Image.open(str(file).replace("/images/", "/labels/")))
        lit = np.asarray(Image.open(file)).max(axis=2) > 40
        assert image[mask == 2].mean() < image[(mask == 0) & lit].mean() - 10 < image[mask == 1].mean()
        assert lit[mask > 0].mean() > 0.97


def test_fluid_is_dark_between_retina_and_epithelium_in_half_of_the_eyes(tmp_path: Path) -> None:
    write_dataset("segmentation", tmp_path / "oct", number=8, size=64, modalities=["OCT"])
    masks = [np.asarray(Image.open(file)) for file in sorted((tmp_path / "oct").glob("*/*/*/labels/*.png"))]
    share = np.mean([(mask == 4).any() for mask in masks])
    assert 0.25 < share < 0.75
    for mask in masks:
        for column in mask[:, mask.max(axis=0) == 4].T:
            layers = column[column > 0]
            assert np.array_equal(layers, np.sort(layers))  # nerve fibres, inner, outer retina, fluid, from above


@pytest.mark.parametrize(("folder", "modality"), [("LandmarkDetection", "UBM"), ("FundusLandmarkDetection", "Fundus")])
def test_points_are_marked_in_their_pixel_and_exact_in_the_table(
    folder: str, modality: str, drawn: Path, results: Path
) -> None:
    with (drawn / "landmark/truth.csv").open() as file:
        truth = {row["path"].removeprefix(f"{folder}/"): row for row in csv.DictReader(file)}
    names = list(POINTS[modality])
    rows = labels(drawn / "landmark" / folder, layout="landmark", labels=names)
    assert len(rows) >= 4
    for row in rows:
        for name in names:
            exact = [float(truth[row["path"]][f"{name}_{axis}"]) for axis in "xy"]
            assert np.abs(np.subtract(row["points"][name], exact)).max() <= 0.5


def test_the_truth_table_is_a_dataset_of_layout_table(drawn: Path, results: Path) -> None:
    columns = Columns(image="path", subject="subject", split="split", mask="mask")
    rows = labels(drawn / "segmentation", layout="table", table="truth.csv", images="*/images/*", columns=columns)
    assert len(rows) == len(list((drawn / "segmentation").glob("*/*/*/images/*.png")))


def test_noise_is_as_the_published_generator_has_it(tmp_path: Path) -> None:
    write_dataset("segmentation", tmp_path / "s", number=3, size=64, modalities=["Fundus"], noise=True)
    write_dataset("landmark", tmp_path / "l", number=3, size=64, modalities=["UBM"], noise=True)
    masks = sorted((tmp_path / "s/VesselSegmentation/dataset_A/training/labels").iterdir())
    assert [file.name for file in masks] == [f"{n:08d}.png" for n in range(3)]
    assert set(np.unique(np.asarray(Image.open(masks[0])))) == set(range(5))
    for file in (tmp_path / "l/LandmarkDetection/dataset_A").glob("*/labels/*.npy"):
        array = np.load(file)
        assert array.shape == (64, 64, 3) and array.dtype == np.uint8 and (array.sum(axis=(0, 1)) == 1).all()


def test_equal_seeds_give_equal_bytes_whatever_the_workers(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        write_dataset("segmentation", tmp_path / name, number=1, size=64, modalities=["OCT"], workers=workers)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)


def test_a_modality_without_masks_or_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no drawing of that modality for landmark"):
        write_dataset("landmark", tmp_path / "x", modalities=["OCT"])
