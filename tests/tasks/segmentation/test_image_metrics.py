"""Masks are measured from their archives: each image once, against the truth that was labelled, and no run twice."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.artifacts.archive import writing
from visionfm.data import columns
from visionfm.errors import DataError, UsageError
from visionfm.images.masks import encode_mask
from visionfm.metrics.masks import mask_scores
from visionfm.tasks.evaluate import Archives, evaluate
from visionfm.tasks.maps.archive import encode_map, map_names, read_map
from visionfm.tasks.maps.settings import DenseTarget
from visionfm.tasks.settings import EvaluateSettings, TargetSpec

TARGET = DenseTarget(column="vessel", classes=["background", "vessel"], values=[[0], [255]])
SHAPE, COUNT = (24, 32), 6
IMAGES, METRICS = Path("results/tasks/t/m/image_metrics.parquet"), Path("results/tasks/t/m/metrics.parquet")
IDS = ("sample_id", "subject_id", "dataset", "modalities", "split", "run", "target", "path", "image_id", "mask")
FILES = ("mask_path", "mask_id", "mask2_path", "mask2_id", "fov_path", "fov_id")


def band(row: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[row : row + 6, 2:30] = 1
    return mask


def stored(name: str, mask: np.ndarray) -> dict[str, str]:
    """Write a mask of the truth; return its path and id."""
    data = encode_mask(mask, TARGET.values)
    path = Path("data", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"path": name, "id": hashlib.sha256(data).hexdigest()}


def predicted(run: str, shift: int) -> list[Path]:
    """Write a run whose masks lie `shift` px too low; the last image has no truth. Return its files."""
    folder = Path(f"results/tasks/t/m/{run}")
    made_by = artifacts.provenance("predict", {"run": run, "shift": shift}, {})
    rows = []
    masks, maps = folder / "masks.zip", folder / "probabilities.zip"
    targets = {"targets": json.dumps({"vessel": TARGET.model_dump(mode="json")})}
    with (
        writing(masks, made_by, schema="visionfm/masks/1", extra=targets) as said,
        writing(maps, made_by, schema="visionfm/probabilities/1") as likely,
    ):
        for n in range(COUNT):
            row: dict[str, Any] = dict.fromkeys((*IDS, *FILES, "mm_per_px"))
            row |= {"sample_id": f"eyes/{n}", "subject_id": f"p{n}", "dataset": "eyes", "modalities": "Fundus"}
            row |= {"split": "test", "run": run, "target": "vessel", "path": f"{n}.png", "image_id": "", "mask": f"{n}"}
            if n < COUNT - 1:
                truth = stored(f"truth/{n}.png", band(n))
                row |= {"mask_path": truth["path"], "mask_id": truth["id"], "mm_per_px": [0.5, 0.5]}
            if n == 0:
                second = stored("second/0.png", band(1))
                row |= {"mask2_path": second["path"], "mask2_id": second["id"]}
            rows.append({**row, "width": SHAPE[1], "height": SHAPE[0], "orientation": 1})
            said.add(f"{n}", encode_mask(band(n + shift), TARGET.values))
            likely.add(f"{n}", encode_map(0.1 + 0.7 * band(n + shift)))
    schema = [(name, pa.string()) for name in (*IDS, *FILES)] + [("mm_per_px", pa.list_(pa.float64()))]
    schema += [(name, pa.int32()) for name in ("width", "height", "orientation")]
    table = pa.Table.from_pylist(rows, schema=pa.schema(schema))
    artifacts.write_table(folder / "predictions.parquet", table, made_by, schema="visionfm/dense-predictions/1")
    return [folder / "predictions.parquet", masks, maps]


def measure(*runs: list[Path], workers: int = 0, tubular: bool = True, root: str = "eyes") -> list[dict[str, Any]]:
    predictions, masks, maps = (list(paths) for paths in zip(*runs, strict=True))
    same = {"task": "t", "model": "m", "head": "sound", "fusion": "pooled", "kind": "segmentation"}
    targets = {"vessel": TargetSpec(type="mask", classes=TARGET.classes)}
    settings = EvaluateSettings(**same, targets=targets, tubular=["vessel"] if tubular else [])
    evaluate(predictions, METRICS, settings, Archives(masks, maps, {root: Path("data")}, IMAGES, workers))
    rows: list[dict[str, Any]] = artifacts.read_table(IMAGES).to_pylist()
    return rows


def test_each_image_with_a_truth_is_measured_and_the_second_observer_once(results: Path) -> None:
    rows = measure(predicted("seed0", 2), predicted("seed1", 3))
    found = {(row["run"], row["sample_id"], row["class"], row["metric"]): row["value"] for row in rows}
    probability = {1: np.round((0.1 + 0.7 * band(6)) * 65535).astype(np.uint16)}
    expected = mask_scores(band(4), band(6), TARGET.classes, None, (0.5, 0.5), True, probability)
    for (label, metric), value in expected.items():
        assert found["seed0", "eyes/4", label, metric] == pytest.approx(value), (label, metric)
    assert {row["sample_id"] for row in rows if row["run"] == "seed1"} == {f"eyes/{n}" for n in range(COUNT - 1)}
    assert {row["sample_id"] for row in rows if row["run"] == "observer2"} == {"eyes/0"}
    assert found["observer2", "eyes/0", "vessel", "dice"] == pytest.approx(5 / 6)
    metrics = artifacts.read_table(METRICS).to_pylist()
    assert {row["run"] for row in metrics} == {"seed0", "seed1", "mean", "observer2"}


def test_one_more_run_measures_no_other_again_and_the_table_is_that_of_a_clean_run(
    results: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = predicted("seed0", 2), predicted("seed1", 3)
    measure(first)
    IMAGES.unlink()  # as the workflow does before it runs the stage again
    caplog.set_level(logging.INFO, "visionfm")
    with monkeypatch.context() as patch:
        real = columns.read_whole
        read: list[str] = []
        patch.setattr(columns, "read_whole", lambda path: read.append(str(path)) or real(path))
        measure(first, second)
        assert len([name for name in read if "truth" in name]) == COUNT - 1
    assert "seed0: 5 images measured before" in caplog.text
    grown = IMAGES.read_bytes()
    for path in (IMAGES, METRICS):
        path.unlink()
        artifacts.kept_path(path).unlink()
    measure(first, second)
    assert IMAGES.read_bytes() == grown


def test_several_processes_give_the_same_table(results: Path) -> None:
    files = predicted("seed0", 2)
    alone = measure(files)
    IMAGES.unlink()
    artifacts.kept_path(IMAGES).unlink()
    assert measure(files, workers=2) == alone


def test_centre_lines_are_measured_where_the_target_is_of_vessels(results: Path) -> None:
    files = predicted("seed0", 2)
    assert "cldice" in {row["metric"] for row in measure(files)}
    assert "cldice" not in {row["metric"] for row in measure(files, tubular=False)}


def test_a_truth_that_changed_is_no_truth(results: Path) -> None:
    files = predicted("seed0", 2)
    stored("truth/3.png", band(9))
    with pytest.raises(DataError, match="a mask changed while the pipeline ran"):
        measure(files)


def test_the_folder_of_every_dataset_is_needed(results: Path) -> None:
    with pytest.raises(UsageError, match="--roots lacks datasets"):
        measure(predicted("seed0", 2), root="others")


def test_maps_are_kept_to_the_last_bit_under_names_of_their_classes() -> None:
    p_HW = np.arange(65536).reshape(256, 256) / 65535
    np.testing.assert_array_equal(read_map(encode_map(p_HW)), np.arange(65536).reshape(256, 256))
    assert map_names("a/b.png", 2) == {1: "a/b.png"}
    assert map_names("a/b.png", 3) == {0: "a/b.0.png", 1: "a/b.1.png", 2: "a/b.2.png"}
