"""Metrics of dense tasks are means over images with intervals over subjects; the second observer stands beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from visionfm import artifacts
from visionfm.errors import ArtifactError
from visionfm.tasks.evaluate import evaluate, metric_rows
from visionfm.tasks.segmentation.score import read
from visionfm.tasks.settings import EvaluateSettings, TargetSpec

Row = dict[str, Any]
VESSEL = {"vessel": TargetSpec(type="mask", classes=["background", "vessel"])}
POINTS = {"disc": TargetSpec(type="point"), "fovea": TargetSpec(type="point")}


def ids(n: int, run: str, target: str, split: str = "test") -> Row:
    """Image n of person n // 2."""
    same = {"sample_id": f"d/{n:02}", "subject_id": f"d/p{n // 2}", "dataset": "eyes", "modalities": "Fundus"}
    return {**same, "split": split, "run": run, "target": target}


def write(rows: list[Row], run: str) -> Path:
    texts = ("sample_id", "subject_id", "dataset", "modalities", "split", "run", "target")
    fields = [(name, pa.string()) for name in texts]
    fields += [(name, pa.float64()) for name in ("x", "y", "truth_x", "truth_y")]
    fields += [("mm_per_px", pa.list_(pa.float64()))]
    path = Path(f"results/tasks/t/m/{run}/predictions.parquet")
    made_by = artifacts.provenance("predict", {"run": run}, {})
    artifacts.write_table(
        path, pa.Table.from_pylist(rows, schema=pa.schema(fields)), made_by, schema="visionfm/dense-predictions/1"
    )
    return path


SAME: Row = {"task": "t", "model": "m", "head": "sound", "fusion": "pooled"}


def run(table: list[Row], **settings: Any) -> list[Row]:
    """The metrics of points."""
    out = Path("results/tasks/t/m/metrics.parquet")
    evaluate([write(table, table[0]["run"])], out, EvaluateSettings(**SAME, kind="landmarks", **settings))
    read: list[Row] = artifacts.read_table(out).to_pylist()
    return read


def over_images(*tables: list[Row]) -> list[Row]:
    """The metrics of masks, from those of each image."""
    settings = EvaluateSettings(**SAME, kind="segmentation", targets=VESSEL)
    columns = list(measured(0, "seed0")[0])
    frame = pd.DataFrame([row for table in tables for row in table], columns=columns)
    return metric_rows(read(frame, settings), settings)


def measured(n: int, run: str, **values: float | None) -> list[Row]:
    """The rows of image n: each metric of the class vessel, and over the classes."""
    same = ids(n, run, "vessel")
    shown = values or {"dice": None}
    return [
        {**same, "class": label, "metric": name, "value": value, "present": n > 0 if label == "vessel" else None}
        for label in ("vessel", "macro")
        for name, value in shown.items()
    ]


def masks(run: str = "seed0", shift: float = 0.0, count: int = 12) -> list[Row]:
    return [row for n in range(count) for row in measured(n, run, dice=n / 20 + shift, hd95=float(n) if n else None)]


def observer() -> list[Row]:
    return [row for n in range(10) for row in measured(n, "observer2", dice=0.5 + n / 100)]


def find(rows: list[Row], metric: str, **keys: Any) -> Row:
    keys = {"dataset": "eyes", "modality": "all", "split": "test", "run": "seed0", **keys, "metric": metric}
    found = [row for row in rows if all(row[name] == value for name, value in keys.items())]
    assert len(found) == 1, (keys, len(found))
    return found[0]


def test_a_metric_is_the_mean_over_images_with_an_interval_over_subjects(results: Path) -> None:
    rows = over_images(masks())
    dice = find(rows, "dice", **{"class": "vessel"})
    assert dice["value"] == pytest.approx(np.mean(np.arange(12) / 20)) and dice["reason"] is None
    assert dice["ci_low"] < dice["value"] < dice["ci_high"]
    assert (dice["n"], dice["n_subjects"], dice["n_positive"], dice["unit"]) == (12, 6, 11, None)
    assert find(rows, "dice", **{"class": "macro"})["n_positive"] is None


def test_images_of_two_datasets_are_not_mixed(results: Path) -> None:
    table = [row | {"dataset": "ab"[int(row["sample_id"][2:]) % 2]} for row in masks()]
    for name in "ab":
        assert find(over_images(table), "dice", dataset=name, **{"class": "vessel"})["n"] == 6
    assert {row["dataset"] for row in over_images(table)} == {"a", "b"}


def test_the_interval_counts_people_not_images(results: Path) -> None:
    """Each person's two images agree, so that counting images would make the interval too narrow."""
    table = [row for n in range(40) for row in measured(n, "seed0", dice=float(n // 2 % 2))]
    dice = find(over_images(table), "dice", **{"class": "vessel"})
    width = dice["ci_high"] - dice["ci_low"]
    assert width == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(20), rel=0.25)


def test_fewer_than_five_people_have_no_interval(results: Path) -> None:
    row = find(over_images(masks(count=8)), "dice", **{"class": "vessel"})
    assert (row["n"], row["n_subjects"], row["ci_low"], row["interval"]) == (8, 4, None, None)
    assert row["reason"] == "no interval: fewer than five subjects with a known value: 4"


def test_images_without_a_value_are_counted_and_explained(results: Path) -> None:
    distance = find(over_images(masks()), "hd95", **{"class": "vessel"})
    assert (distance["value"], distance["n"], distance["unit"]) == (6.0, 11, "px")
    assert distance["reason"] == "1 of 12 images left out: the class is absent from truth and prediction there"


def test_the_second_observer_stands_beside_ours(results: Path) -> None:
    human = find(over_images(masks(), observer()), "dice", run="observer2", **{"class": "vessel"})
    assert (human["value"], human["n"], human["head"], human["seed"]) == (pytest.approx(0.545), 10, "observer2", None)


def test_several_seeds_get_a_mean_and_one_second_observer(results: Path) -> None:
    rows = over_images(masks(), masks("seed1", 0.1), observer())
    one, mean = (find(rows, "dice", run=name, **{"class": "vessel"}) for name in ("seed0", "mean"))
    assert mean["value"] == pytest.approx(one["value"] + 0.05) and mean["ci_low"] is not None
    assert sum(row["run"] == "observer2" for row in rows) == len([row for row in rows if row["run"] == "seed0"]) / 2


def test_images_without_truth_are_not_measured(results: Path) -> None:
    table = [row for row in masks() if row["sample_id"] >= "d/06"]
    assert find(over_images(table), "dice", **{"class": "vessel"})["n"] == 6


def test_without_any_truth_there_are_no_metrics(results: Path) -> None:
    assert over_images([]) == []


# --- points ---------------------------------------------------------------------------------------------------------


def points(run: str = "seed0") -> list[Row]:
    rows = []
    for n in range(10):
        same = ids(n, run, "disc") | {"mm_per_px": [0.5, 0.5] if n < 8 else None}
        rows.append(same | {"x": 10.0 + 3, "y": 20.0 + 4, "truth_x": 10.0, "truth_y": 20.0})  # 5 px off
        fovea = {"truth_x": 1.0, "truth_y": 1.0} if n % 2 else {"truth_x": None, "truth_y": None}
        rows.append({**same, "target": "fovea", "x": 1.0 + n, "y": 1.0, **fovea})
    return rows


def test_points_have_errors_and_success_rates_each_and_together(results: Path) -> None:
    settings = {"success_px": [2.0, 4.0, 8.0], "success_mm": [2.5]}
    rows = run(points(), targets=POINTS, **settings)
    disc, fovea, both = (find(rows, "mre", target=name) for name in ("disc", "fovea", "all points"))
    assert (disc["value"], disc["n"], disc["unit"]) == (5.0, 10, "px")
    assert (fovea["value"], fovea["n"]) == (5.0, 5) and fovea["reason"].startswith("5 of 10 images left out: the point")
    assert both["value"] == pytest.approx(5.0) and both["n"] == 10
    mm = find(rows, "mre_mm", target="disc")
    assert (mm["value"], mm["n"], mm["unit"]) == (2.5, 8, "mm") and "mm_per_px" in mm["reason"]
    oblong = [row | {"mm_per_px": row["mm_per_px"] and [0.5, 0.25]} for row in points()]  # 3 px across, 4 down
    apart = find(run(oblong, targets=POINTS, **settings), "mre_mm", target="disc")
    assert apart["value"] == pytest.approx(np.hypot(3 * 0.5, 4 * 0.25))
    nowhere = run([row | {"mm_per_px": None} for row in points()], targets=POINTS, **settings)
    assert find(nowhere, "mre", target="disc")["value"] == 5.0
    assert {row["unit"] for row in nowhere if row["metric"].startswith("mre")} == {"px"}
    rates = {row["operating_point"]: row for row in rows if row["metric"] == "success_rate" and row["target"] == "fovea"
             and row["split"] == "test"}  # fmt: skip
    expected = {"2 px": 0.2, "4 px": 0.4, "8 px": 0.8, "2.5 mm": 0.75}
    assert {name: row["value"] for name, row in rates.items()} == expected
    assert rates["4 px"]["threshold"] == 4.0
    both_within = find(rows, "success_rate", target="all points", operating_point="4 px")
    assert both_within["value"] == pytest.approx(np.mean([0, 0.5, 0, 0.5, 0, 0, 0, 0, 0, 0]))


def test_a_sample_answered_twice_is_an_error(results: Path) -> None:
    with pytest.raises(ArtifactError, match="answered twice"):
        run([*points(), points()[0]], targets=POINTS)


def slices(volume: str, person: str, counts: list[tuple[int, int, int]]) -> list[Row]:
    """The rows of a volume's slices: pixels in the truth, in the prediction, in both; and their own Dice."""
    rows = []
    for at, (truth, said, both) in enumerate(counts):
        same = {**ids(0, "seed0", "vessel"), "sample_id": f"d/{volume}#{at}", "subject_id": person}
        dice = 2 * both / (truth + said) if truth + said else None
        cells = {"dice": dice, "truth_px": truth, "said_px": said, "both_px": both}
        rows += [
            {**same, "class": "vessel", "metric": name, "value": value, "present": truth > 0}
            for name, value in cells.items()
        ]
        rows.append({**same, "class": "macro", "metric": "dice", "value": dice, "present": None})
    return rows


def test_dice_of_volumes_is_over_their_voxels_and_its_n_counts_volumes() -> None:
    large_and_tiny = [(1000, 1000, 900), (2, 0, 0), (0, 0, 0)]
    found = over_images(
        slices("a.tif", "p0", large_and_tiny),
        slices("b.tif", "p1", [(10, 10, 10)]),
        slices("c#1.tif", "p2", [(0, 0, 0)]),
    )
    rows = {(row["metric"], row["class"]): row for row in found if row["run"] == "seed0"}
    of_volumes, of_slices = rows["dice_of_volume", "vessel"], rows["dice", "vessel"]
    assert of_volumes["value"] == pytest.approx((1800 / 2002 + 1) / 2) and of_volumes["n"] == 2
    assert of_slices["value"] == pytest.approx((0.9 + 0 + 1) / 3) and of_slices["n"] == 3
    assert of_volumes["n_positive"] == 2 and of_volumes["n_subjects"] == 2
    assert of_volumes["reason"].startswith("1 of 3 volumes left out: the class is absent")
    assert "of 3 volumes 5 slices have a mask" in of_volumes["reason"]
    assert rows["dice_of_volume", "macro"]["value"] == pytest.approx(of_volumes["value"])


def test_of_some_slices_of_a_volume_there_is_no_dice_of_volumes() -> None:
    rows = [*slices("a.tif", "p0", [(9, 9, 9), (9, 9, 6), (0, 0, 0)]), *slices("b.tif", "p1", [(9, 9, 3)])]
    settings = EvaluateSettings(**SAME, kind="segmentation", targets=VESSEL)
    answered = read(pd.DataFrame(rows), settings)["seed0"]["vessel"]

    def of_volumes(*images: int) -> Any:
        return {one.key: one for one in answered.measures(np.array(images))}["vessel", "dice_of_volume", None]

    assert of_volumes(0, 1).value == pytest.approx(30 / 36)  # but for a slice that holds nothing, which changes nothing
    assert of_volumes(3).value == pytest.approx(6 / 18)
    some = of_volumes(0, 2, 3)
    assert np.isnan(some.value) and some.n == 0
    assert some.reason.startswith("the slices of 1 of 2 volumes are not all among these")


def test_images_that_are_no_slices_have_no_dice_of_volumes() -> None:
    assert not [row for row in over_images(masks()) if row["metric"] == "dice_of_volume"]
