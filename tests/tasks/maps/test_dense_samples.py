"""Samples of dense tasks carry their masks and points; what does not fit the task is named with its file."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.data.columns import column_type, read_dense_samples
from visionfm.errors import DataError
from visionfm.tasks.fuse import fuse
from visionfm.tasks.settings import FuseSettings, LabelledTarget

Row = dict[str, Any]
OUT, TRAIN = Path("results/tasks/t/m/samples.parquet"), Path("results/tasks/t/m/train.parquet")
VESSEL = {"vessel": LabelledTarget(type="mask", column="vessel", classes=["background", "vessel"], values=[[0], [255]])}
POINTS = {name: LabelledTarget(type="point", column=name) for name in ("disc", "fovea")}
IDS = ("path", "image_id", "copy_id", "subject_id", "group_id", "eye", "visit", "split")
SHAPE = {"width": 8, "height": 6, "orientation": 1}


def rows(count: int = 8, **changes: Any) -> list[Row]:
    splits = ("train", "train", "validation", "test")
    return [
        {
            **{"path": f"{n}.png", "image_id": f"i{n}", "subject_id": f"d/p{n}", "eye": None, "visit": None},
            **{"group_id": f"d/p{n}", "copy_id": f"i{n}"},
            **{"split": splits[n % 4], "mask_path": f"m/{n}.png", "mask_id": f"h{n}", "mask_values": [0, 255]},
            **{"points": {"disc": [1.0, 2.0], "fovea": None, "other": [0.0, 0.0]}, "mm_per_px": None, **SHAPE},
            **changes,
        }
        for n in range(count)
    ]


def run(data: dict[str, list[Row]], targets: dict[str, LabelledTarget], **settings: Any) -> list[Row]:
    labels = {}
    for name, table in data.items():
        text = pa.string()
        kinds = {
            key: column_type(key, ["disc", "fovea", "other"]) if key in ("points", "mask_values", "mm_per_px", *SHAPE)
            else text for key in table[0]
        }  # fmt: skip
        path = Path(f"results/datasets/{name}/labels.parquet")
        made_by = artifacts.provenance("label", {"name": name}, {})
        content = pa.Table.from_pylist(table, schema=pa.schema(list(kinds.items())))
        artifacts.write_table(path, content, made_by, schema="visionfm/labels/1")
        labels[name] = [path]
    audit = Path("results/tasks/t/audit.parquet")
    artifacts.write_table(
        audit, pa.table({"check": ["none"]}), artifacts.provenance("audit", {}, {}), schema="visionfm/audit/1"
    )
    datasets = dict.fromkeys(data, "Fundus")
    kind = {"mask": "segmentation", "point": "landmarks"}[next(iter(targets.values())).type]
    settings = {"kind": kind, "datasets": datasets, "modalities": ["Fundus"], "targets": targets, **settings}
    fuse(labels, audit, OUT, TRAIN, FuseSettings(**settings))
    read: list[Row] = artifacts.read_table(OUT).to_pylist()
    return read


def test_a_sample_is_an_image_with_its_mask(results: Path) -> None:
    run({"d": rows()}, VESSEL)
    sample = read_dense_samples(OUT)[0]
    assert (sample.sample_id, sample.path, sample.image_id, sample.modality) == ("d/0.png", "0.png", "i0", "Fundus")
    assert (sample.mask_path, sample.mask_id, sample.mask2_path, sample.points) == ("m/0.png", "h0", None, {})
    assert {one.split for one in read_dense_samples(TRAIN)} == {"train", "validation"}


def test_points_are_named_as_the_task_names_them(results: Path) -> None:
    targets = {"nerve": LabelledTarget(type="point", column="disc"), "fovea": POINTS["fovea"]}
    table = rows()
    table[0]["points"] = {"disc": [1.0, 2.0], "fovea": [3.0, 4.0], "other": None}
    run({"d": table}, targets)
    samples = read_dense_samples(OUT)
    assert samples[0].points == {"nerve": (1.0, 2.0), "fovea": (3.0, 4.0)}
    assert samples[1].points == {"nerve": (1.0, 2.0), "fovea": None}


def test_images_without_mask_are_left_out_and_unlabelled_datasets_are_test_only(results: Path) -> None:
    table = rows()
    table[0] |= {"mask_path": None, "mask_id": None, "mask_values": None}
    plain = [{key: row[key] for key in (*IDS, *SHAPE)} for row in rows()]
    read = run({"d": table, "new": plain}, VESSEL)
    assert len(read) == 15 and {row["split"] for row in read if row["dataset"] == "new"} == {"test"}
    assert all(row["dataset"] == "d" for row in artifacts.read_table(TRAIN).to_pylist())


def test_values_outside_the_classes_are_named_with_their_file(results: Path) -> None:
    table = rows()
    table[1]["mask_values"], table[3]["mask_values"] = [0, 1, 255], [0, 254]
    with pytest.raises(DataError) as caught:
        run({"d": table}, VESSEL)
    assert "d/1.png: vessel: m/1.png: expected pixel values 0, 255, found 1" in str(caught.value)
    assert "d/3.png: vessel: m/3.png: expected pixel values 0, 255, found 254" in str(caught.value)


def test_a_class_or_point_that_no_training_image_has_is_an_error(results: Path) -> None:
    with pytest.raises(DataError, match="no image has vessel in the training split"):
        run({"d": rows(mask_values=[0])}, VESSEL)
    with pytest.raises(DataError, match="no image has fovea in the training split"):
        run({"d": rows()}, POINTS)


def test_a_dataset_of_other_labels_is_an_error(results: Path) -> None:
    plain = [{key: row[key] for key in IDS} for row in rows()]
    with pytest.raises(DataError, match="other: its labels hold no mask; give `columns"):
        run({"d": rows(), "other": plain}, VESSEL)
