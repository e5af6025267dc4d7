"""Frames of a file are images of their own where the config says `frames`: indexed, labelled and encoded one by one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from world.dicom_files import TOMOGRAM, dicom
from world.small_project import Project, write_encoder
from world.volume_files import e2e, nifti, npy, topcon, vol

from visionfm import artifacts
from visionfm.data import index as stage
from visionfm.data.block import Dataset
from visionfm.data.index import index
from visionfm.data.labels import label
from visionfm.data.layouts.columns import Columns
from visionfm.data.settings import IndexSettings, LabelSettings
from visionfm.errors import DataError
from visionfm.images import reading as images
from visionfm.images.identity import file_id, frame_of
from visionfm.images.settings import EveryFrame, Frames, MiddleFrames, Reading, chosen_frames

Rows = list[dict[str, Any]]
INDEX, LABELS = Path("results/datasets/scans/images.parquet"), Path("results/datasets/scans/labels.parquet")


def slices(seed: int, count: int = 5) -> list[Any]:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4)).astype(np.uint8)
    return [np.asarray(Image.fromarray(one).resize((40, 36))) for one in coarse]


def pages(path: Path, seed: int, count: int = 5) -> None:
    first, *others = [Image.fromarray(one) for one in slices(seed, count)]
    first.save(path, save_all=True, append_images=others)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three volumes, in TIFF and in DICOM, and one picture."""
    root = tmp_path / "scans"
    root.mkdir()
    for number in (0, 1):
        pages(root / f"{number}.tif", number)
    (root / "2.dcm").write_bytes(dicom(np.stack(slices(2)), kind=TOMOGRAM, PatientID="p2", ImageLaterality="L"))
    Image.fromarray(slices(3)[0]).save(root / "3.png")
    return root


@pytest.fixture
def indexed(scans: Path, results: Path) -> Callable[..., Rows]:
    def run(frames: Frames | None = "all") -> Rows:
        index(scans, INDEX, IndexSettings(modality="OCT", layout="table", frames=frames))
        rows: Rows = artifacts.read_table(INDEX).to_pylist()
        return rows

    return run


@pytest.fixture
def labelled(scans: Path, indexed: Callable[..., Rows]) -> Callable[..., Rows]:
    def run(*lines: str, frames: Frames = "all", columns: dict[str, Any] | None = None) -> Rows:
        indexed(frames)
        (scans / "t.csv").write_text("\n".join(["file,patient,eye,dme,second", *lines]))
        meant = columns or {"image": "file", "subject": "patient", "eye": "eye", "targets": {"dme": "dme"}}
        settings = LabelSettings(dataset="scans", layout="table", table="t.csv", columns=Columns.model_validate(meant))
        label(scans, [INDEX], None, LABELS, settings)
        rows: Rows = artifacts.read_table(LABELS).to_pylist()
        return rows

    return run


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6]),
        (EveryFrame(every=3), [0, 3, 6]),
        (MiddleFrames(middle=3), [2, 3, 4]),
        (MiddleFrames(middle=9), [0, 1, 2, 3, 4, 5, 6]),
        (3, [1, 3, 5]),
        (1, [3]),
        (7, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_frames_are_chosen_as_the_config_says(frames: Frames, expected: list[int]) -> None:
    assert chosen_frames(frames, 7) == expected


def test_a_row_per_frame_and_a_file_of_one_image_stays_itself(indexed: Callable[..., Rows]) -> None:
    rows = indexed(EveryFrame(every=2))
    assert [row["path"] for row in rows] == [
        *("0.tif#0", "0.tif#2", "0.tif#4", "1.tif#0", "1.tif#2", "1.tif#4", "2.dcm#0", "2.dcm#2", "2.dcm#4", "3.png")
    ]
    assert {row["status"] for row in rows} == {"ok"} and rows[0]["frames"] == 5
    assert [frame_of(row["image_id"]) for row in rows[:3]] == [0, 2, 4] and frame_of(rows[-1]["image_id"]) is None
    assert len({file_id(row["image_id"]) for row in rows}) == 4


def test_an_unchanged_volume_is_not_read_again_and_from_scratch_is_the_same(
    scans: Path, indexed: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    indexed()
    pages(scans / "1.tif", 9, 3)
    read: list[str] = []
    inspect = stage.inspect_frames
    monkeypatch.setattr(stage, "inspect_frames", lambda path, *how: read.append(path.name) or inspect(path, *how))
    rows = indexed()
    assert read == ["1.tif"] and sum(row["path"].startswith("1.tif") for row in rows) == 3
    again = INDEX.read_bytes()
    shutil.rmtree("results")
    indexed()
    assert INDEX.read_bytes() == again


def test_a_damaged_volume_is_one_row_with_its_reason(scans: Path, indexed: Callable[..., Rows]) -> None:
    (scans / "2.dcm").write_bytes((scans / "2.dcm").read_bytes()[:-200])
    assert [row["status"].split(":")[0] for row in indexed() if row["path"].startswith("2")] == ["truncated"]


def test_a_label_of_a_volume_is_that_of_its_frames_and_splits_never_part_them(labelled: Callable[..., Rows]) -> None:
    rows = labelled("0.tif,a,R,1", "1.tif,b,R,0", "2.dcm,c,L,1", "3.png,d,L,0", frames=3)
    assert [row["dme"] for row in rows] == [1, 1, 1, 0, 0, 0, 1, 1, 1, 0]
    assert len({(row["subject_id"], row["split"]) for row in rows}) == 4
    assert {row["subject_id"] for row in rows} == {f"scans/{name}" for name in "abcd"}


def test_frames_may_have_labels_of_their_own(labelled: Callable[..., Rows]) -> None:
    rows = labelled("0.tif#0,a,R,1", "0.tif#3,a,R,0", "1.tif#1,b,R,1", "2.dcm#2,c,L,0", "3.png,d,,1")
    assert {row["path"]: row["dme"] for row in rows} == {
        **{"0.tif#0": 1, "0.tif#3": 0, "1.tif#1": 1, "2.dcm#2": 0, "3.png": 1}
    }
    assert [row["path"] for row in labelled("0.tif#0,a,R,1", "0.tif#2,a,R,0", "1.tif#2,b,R,0", frames=1)] == [
        *("0.tif#2", "1.tif#2")
    ]


def test_what_labels_nothing_or_twice_is_named(labelled: Callable[..., Rows]) -> None:
    with pytest.raises(DataError) as said:
        labelled("0.tif,a,R,1", "0.tif#2,a,R,1", "3.png#1,d,,1", "1.tif,b,R,1")
    assert "t.csv:2 and t.csv:3: both label 0.tif#2" in str(said.value)
    assert "3.png#1 names a frame, and 3.png is one image" in str(said.value)


def test_the_eye_of_a_volume_is_held_against_its_header(labelled: Callable[..., Rows]) -> None:
    with pytest.raises(DataError, match="the header of 2.dcm says L"):
        labelled("2.dcm,c,R,1", "0.tif,a,R,0")
    with pytest.raises(DataError, match="the header of 2.dcm#1 says L"):
        labelled("2.dcm#1,c,R,1", "0.tif,a,R,0")


def test_graders_are_compared_once_for_a_volume(labelled: Callable[..., Rows]) -> None:
    target = {"columns": ["dme", "second"], "aggregate": "max"}
    columns = {"image": "file", "subject": "patient", "targets": {"dme": target}}
    labelled("0.tif,a,,1,1", "1.tif,b,,0,1", "2.dcm,c,,1,1", "3.png,d,,0,0", columns=columns)
    assert '"images": 4' in artifacts.read_metadata(LABELS)["agreement"]


def test_a_volume_is_read_once_and_its_frames_are_encoded_as_pictures_are(
    scans: Path, indexed: Callable[..., Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = indexed()
    project = Project(tmp_path / "run")
    project.root, project.index = scans, INDEX.absolute()
    write_encoder(project.encoder)
    read: list[str] = []
    checked = images.checked_bytes
    monkeypatch.setattr(images, "checked_bytes", lambda root, path, of: read.append(path) or checked(root, path, of))
    project.extract()
    assert read == ["0.tif#0", "1.tif#0", "2.dcm#0", "3.png"]
    with h5py.File(project.out) as cache:
        features = dict(zip(cache["path"].asstr()[:], cache["cls"][:], strict=True))
    plain = Project(tmp_path / "plain")
    plain.root = tmp_path / "pictures"
    plain.root.mkdir()
    for number in range(3):
        for frame, one in enumerate(slices(number)):
            suffix = "tif" if number < 2 else "dcm"
            Image.fromarray(one).save(plain.root / f"{number}.{suffix}#{frame}.png")
    index(plain.root, plain.index, IndexSettings(modality="OCT", layout="table"))
    write_encoder(plain.encoder)
    plain.extract()
    with h5py.File(plain.out) as cache:
        for path, expected in zip(cache["path"].asstr()[:], cache["cls"][:], strict=True):
            assert (features[path.removesuffix(".png")] == expected).all(), path
    assert len(rows) == len(features) == 16


def test_frames_in_any_order_are_those_of_a_fresh_file(scans: Path, indexed: Callable[..., Rows]) -> None:
    rows = {row["path"]: row["image_id"] for row in indexed()}
    for path in ("0.tif#4", "0.tif#0", "0.tif#2", "2.dcm#3", "2.dcm#1", "0.tif#2"):
        number, frame = int(path[0]), int(path[-1])
        assert (images.read_checked(scans, path, rows[path], Reading())[..., 0] == slices(number)[frame]).all()


def test_frame_and_frames_and_arrays_of_points_exclude_each_other() -> None:
    block = {"modality": "OCT", "root": "x", "layout": "table", "labels": "none"}
    assert Dataset.model_validate({**block, "frames": {"middle": 9}}).frames == MiddleFrames(middle=9)
    for wrong in ({"frame": 0}, {"layout": "landmark", "labels": ["fovea"]}):
        with pytest.raises(ValueError, match="frames"):
            Dataset.model_validate({**block, "frames": "all", **wrong})


def test_folders_of_slices_are_labelled_as_volumes_and_edits_are_those_of_a_clean_run(
    tmp_path: Path, results: Path
) -> None:
    root = tmp_path / "folders"
    for number in range(3):
        (root / f"{number:04d}").mkdir(parents=True)
        for at, one in enumerate(slices(number, 11)):
            Image.fromarray(one).save(root / f"{number:04d}" / f"{at}.png")
    (root / "t.csv").write_text("eye,dme\n0,1\n1,0\n2,1")

    def run() -> tuple[bytes, Rows]:
        index(root, INDEX, IndexSettings(modality="OCT", layout="table", images="*/", frames=MiddleFrames(middle=3)))
        columns = Columns.model_validate({"image": "{eye:04d}", "subject": "eye", "targets": {"dme": "dme"}})
        label(root, [INDEX], None, LABELS, LabelSettings(dataset="scans", layout="table", table="t.csv",
                                                         columns=columns))  # fmt: skip
        return LABELS.read_bytes(), artifacts.read_table(LABELS).to_pylist()

    _, rows = run()
    assert [(row["path"], row["dme"]) for row in rows] == [
        (f"{number:04d}#{frame}", 1 - number % 2) for number in range(3) for frame in (4, 5, 6)
    ]
    assert len({file_id(row["image_id"]) for row in rows}) == 3
    file = root / "0001/5.png"
    before = images.read_checked(root, rows[4]["path"], rows[4]["image_id"], Reading())
    Image.fromarray(255 - before).save(file)
    images.read_checked(root, rows[0]["path"], rows[0]["image_id"], Reading())  # one volume at a time is held
    with pytest.raises(DataError, match="changed since index"):
        images.read_checked(root, rows[3]["path"], rows[3]["image_id"], Reading())
    after, rows = run()
    assert (images.read_checked(root, rows[4]["path"], rows[4]["image_id"], Reading()) == 255 - before).all()
    shutil.rmtree("results")
    assert run()[0] == after


@pytest.mark.parametrize("kind", ["vol", "npy", "e2e", "fda", "nii"])
def test_volumes_of_other_kinds_reach_the_features(kind: str, results: Path, tmp_path: Path) -> None:
    root = tmp_path / "volumes"
    root.mkdir()
    stack = np.stack(slices(4, 3))
    whole = {"vol": lambda: vol(stack / 255), "npy": lambda: npy(stack), "fda": lambda: topcon(stack, eye=1),
             "e2e": lambda: e2e(stack.astype("<u2") * 30 + 56_000, eye="L"), "nii": lambda: nifti(stack)}  # fmt: skip
    (root / f"a.{kind}").write_bytes(whole[kind]())
    project = Project(tmp_path / "run")
    project.root, project.index = root, INDEX.absolute()
    index(root, INDEX, IndexSettings(modality="OCT", layout="table", images=f"*.{kind}", frames="all"))
    write_encoder(project.encoder)
    project.extract()
    with h5py.File(project.out) as cache:
        assert cache["path"].asstr()[:].tolist() == [f"a.{kind}#{frame}" for frame in range(3)]
        assert np.isfinite(cache["cls"][:]).all() and len(np.unique(cache["cls"][:, 0, -1, 0])) == 3
    if kind in ("vol", "e2e", "fda"):
        (root / "t.csv").write_text(f"file,eye,dme\na.{kind},R,1")
        person = f"{'topcon' if kind == 'fda' else kind}.PatientID"
        columns = Columns.model_validate({"image": "file", "subject": person, "eye": "eye", "targets": {"dme": "dme"}})
        with pytest.raises(DataError, match=f"eye R, and the header of a.{kind} says L"):
            label(root, [INDEX], None, LABELS, LabelSettings(dataset="scans", layout="table", table="t.csv",
                                                             columns=columns))  # fmt: skip
