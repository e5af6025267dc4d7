"""The published layouts as written by `visionfm synth`: complete, consistent, reproducible, all or nothing."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionfm.cli import main as visionfm
from visionfm.errors import ConfigError, DataError, UsageError
from visionfm.synthetic import dataset
from visionfm.synthetic.dataset import SPLITS, write_dataset
from visionfm.synthetic.findings import BIOMARKERS, DISEASES
from visionfm.synthetic.items import column

SIZE = 64
FOLDERS = {"single_cls": "Classification", "multi_cls": "ClassificationMulti", "metric_reg": "Regression"}


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def truth(root: Path) -> list[dict[str, str]]:
    with (root / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("task", FOLDERS)
def test_label_files_name_every_image_once_with_the_right_number_of_values(
    tmp_path: Path, task: str, noise: bool
) -> None:
    out = tmp_path / "eyes"
    write_dataset(task, out, number=4, size=SIZE, modalities=["Fundus", "OCT"], noise=noise)
    for modality in ("Fundus", "OCT"):
        root = out / f"{modality}{FOLDERS[task]}" / "dataset_A"
        for split in SPLITS:
            lines = (root / f"{split}_labels.txt").read_text().splitlines()
            paths = [line.split(";")[0] for line in lines]
            assert sorted(paths) == sorted(f"{split}/{path.name}" for path in (root / split).iterdir())
            for line in lines:
                values = [float(value) for value in line.split(";")[1].split(",")]
                assert len(values) == {"single_cls": 1, "multi_cls": 13, "metric_reg": 38}[task]
                if task == "multi_cls":
                    assert set(values) <= {0.0, 1.0}
                if task == "single_cls":
                    assert values[0] in range(5)
            for path in paths:
                with Image.open(root / path) as image:
                    assert image.size == (SIZE, SIZE)


def test_pretraining_images_lie_in_folders_of_the_published_spelling(tmp_path: Path) -> None:
    write_dataset("pretrain", tmp_path / "eyes", number=1, size=SIZE)
    folders = {path.name for path in (tmp_path / "eyes").iterdir() if path.is_dir()}
    assert folders == {"Fundus", "OCT", "External", "UBM", "Ultrasound", "FFA", "SlitLamp", "MRI"}
    assert {path.name for path in (tmp_path / "eyes/UBM").iterdir()} == {"p0001_R.png", "p0001_L.png"}


def test_no_pretraining_image_is_an_image_of_a_labelled_task(tmp_path: Path) -> None:
    write_dataset("pretrain", tmp_path / "a", number=4, size=SIZE, modalities=["Fundus"])
    write_dataset("multi_cls", tmp_path / "b", number=4, size=SIZE, modalities=["Fundus"])
    images = [{data for name, data in files(tmp_path / part).items() if name.endswith(".png")} for part in "ab"]
    assert images[0] and images[1] and not images[0] & images[1]


def test_tasks_label_the_same_images(tmp_path: Path) -> None:
    write_dataset("single_cls", tmp_path / "a", number=2, size=SIZE, modalities=["OCT"])
    write_dataset("metric_reg", tmp_path / "b", number=2, size=SIZE, modalities=["OCT"])
    images = [{data for name, data in files(tmp_path / part).items() if name.endswith(".png")} for part in "ab"]
    assert images[0] == images[1]


def test_people_are_in_one_split_with_several_modalities_and_some_images_missing(tmp_path: Path) -> None:
    write_dataset("multi_cls", tmp_path / "eyes", number=12, size=SIZE, modalities=["FFA", "OCT"])
    rows = truth(tmp_path / "eyes")
    splits = {(row["subject"], row["split"]) for row in rows}
    assert len(splits) == len({subject for subject, _ in splits})
    present = {(row["subject"], row["eye"], row["modality"]) for row in rows}
    people = {row["subject"] for row in rows}
    both = [(s, e) for s in people for e in "RL" if {(s, e, "FFA"), (s, e, "OCT")} <= present]
    assert both and len(present) < len(people) * 4


def test_truth_agrees_over_modalities_and_with_the_label_files(tmp_path: Path) -> None:
    write_dataset("multi_cls", tmp_path / "eyes", number=3, size=SIZE, modalities=["FFA", "OCT"])
    rows = truth(tmp_path / "eyes")
    assert [row["path"] for row in rows] and all((tmp_path / "eyes" / row["path"]).is_file() for row in rows)
    known: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        facts = [row[column(name)] for name in DISEASES] + [row[marker.name] for marker in BIOMARKERS]
        assert known.setdefault((row["subject"], row["eye"]), facts) == facts
        home = (tmp_path / "eyes" / row["path"]).parent
        lines = (home.parent / f"{row['split']}_labels.txt").read_text().splitlines()
        assert f"{row['split']}/{Path(row['path']).name};{','.join(facts[:13])}" in lines


def test_bytes_do_not_depend_on_workers_or_on_the_other_modalities_or_on_the_number(tmp_path: Path) -> None:
    write_dataset("multi_cls", tmp_path / "one", number=2, size=SIZE, modalities=["Fundus", "OCT"], seed=4, workers=1)
    write_dataset("multi_cls", tmp_path / "two", number=2, size=SIZE, modalities=["OCT", "Fundus"], seed=4, workers=2)
    write_dataset("multi_cls", tmp_path / "more", number=3, size=SIZE, modalities=["OCT"], seed=4)
    one, two, more = (files(tmp_path / name) for name in ("one", "two", "more"))
    assert one == two
    images = [name for name in one if name.startswith("OCT") and name.endswith(".png")]
    assert images and all(more[name] == one[name] for name in images)
    write_dataset("multi_cls", tmp_path / "other", number=2, size=SIZE, modalities=["OCT"], seed=5)
    assert all(files(tmp_path / "other").get(name) != one[name] for name in images)


def test_noise_is_seeded_and_named_as_published(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dataset("single_cls", tmp_path / name, number=2, size=SIZE, modalities=["Fundus"], noise=True, seed=seed)
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    image = "FundusClassification/dataset_A/training/00000001.png"
    assert a[image] != c[image]
    with Image.open(tmp_path / "a" / image) as opened:
        pixels = np.asarray(opened)
    assert pixels.shape == (SIZE, SIZE, 3) and pixels.max() <= 254 and pixels.std() > 60


def test_an_output_folder_with_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes/mine.txt").write_text("kept")
    with pytest.raises(DataError, match="not empty"):
        write_dataset("pretrain", tmp_path / "eyes", number=1, size=SIZE)
    assert files(tmp_path) == {"eyes/mine.txt": b"kept"}


def test_an_empty_output_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "eyes").mkdir()
    assert write_dataset("pretrain", tmp_path / "eyes", number=1, size=SIZE, modalities=["oct"]) == 2


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"modalities": ["Fundis"]}, ConfigError),
        ({"number": 0}, UsageError),
        ({"size": 8}, UsageError),
        ({"difficulty": "mean"}, UsageError),
        ({"seed": -1}, UsageError),
    ],
)
def test_a_wrong_setting_is_one_clear_error_and_writes_nothing(
    tmp_path: Path, wrong: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        write_dataset("pretrain", tmp_path / "eyes", **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, done = dataset.encode, []

    def full_disk(item: dataset.Item) -> bytes:
        done.append(item)
        if len(done) == 3:
            raise OSError(28, "No space left on device")
        return real(item)

    monkeypatch.setattr(dataset, "encode", full_disk)
    with pytest.raises(DataError, match="No space left"):
        write_dataset("pretrain", tmp_path / "eyes", number=2, size=SIZE, modalities=["OCT"])
    assert not list(tmp_path.iterdir())


def test_the_command_line_takes_aliases_and_reports_errors_by_exit_code(tmp_path: Path) -> None:
    words = ["synth", "--task", "single_cls", "--out", str(tmp_path / "eyes"), "--number", "1", "--size", str(SIZE)]
    assert visionfm([*words, "--modalities", "ultra-sound", "Silt-Lamp", "--workers", "1", "--difficulty", "hard"]) == 0
    assert {path.name for path in (tmp_path / "eyes").iterdir()} == {
        "UltrasoundClassification",
        "SlitLampClassification",
        "truth.csv",
    }
    assert visionfm(words) == 3
    assert visionfm([*words[:-4], "--number", "0"]) in (2, 3)
