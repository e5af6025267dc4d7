"""Samples of progression: images with outcomes, eyes at their baseline with the visits before it."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from world.fused import OUT, TRAIN, labelled

from visionfm import artifacts
from visionfm.errors import DataError
from visionfm.metrics.kaplan_meier import free_of_event
from visionfm.tasks.fuse import fuse
from visionfm.tasks.settings import FuseSettings, LabelledTarget

WORSE = {"worse": LabelledTarget(type="binary", column="event", classes=["stable", "progressed"], values=[[0], [1]])}
SPLITS = ("train", "train", "validation", "validation", "test")


def row(person: int, visit: str | None, event: float | None, days: float | None, **changes: Any) -> dict[str, Any]:
    path = f"p{person}_{visit}_{changes.get('eye', 'R')}.png"
    same = {"path": path, "image_id": path, "subject_id": f"c/p{person}", "eye": "R", "visit": visit}
    return {**same, "split": SPLITS[person % 5], "event": event, "interval_days": days, **changes}


def people(count: int = 10) -> list[dict[str, Any]]:
    """A baseline each; every other one has the event."""
    return [row(n, "2020-01-01", float(n % 2), 100.0 + n) for n in range(count)]


def run(rows: list[dict[str, Any]], head: str = "hazard", unit: str = "eye", **more: list) -> list[dict[str, Any]]:
    labels = {}
    for name, table in {"f": labelled(rows), **{key: labelled(table) for key, table in more.items()}}.items():
        path = f"results/datasets/{name}/labels.parquet"
        names = list(table[0])
        types = {"event": pa.float64(), "interval_days": pa.float64()}
        schema = pa.schema([(key, types.get(key, pa.string())) for key in names])
        made_by = artifacts.provenance("label", {}, {})
        artifacts.write_table(path, pa.Table.from_pylist(table, schema=schema), made_by, schema="visionfm/labels/1")
        labels[name] = [Path(path)]
    audit = Path("results/tasks/t/audit.parquet")
    artifacts.write_table(
        audit, pa.table({"check": ["none"]}), artifacts.provenance("audit", {}, {}), schema="visionfm/audit/1"
    )
    modalities = {"f": "Fundus", "o": "OCT"}
    datasets = {name: modalities[name] for name in labels}
    fusion = "pooled" if unit == "image" else "attention"
    same = {"datasets": datasets, "modalities": list(datasets.values()), "targets": WORSE, "unit": unit}
    fuse(labels, audit, OUT, TRAIN, FuseSettings(kind="progression", **same, fusion=fusion, progression=head))
    return artifacts.read_table(OUT).to_pylist()


@pytest.fixture(autouse=True)
def _empty(results: Path) -> None:
    """Work in an empty run."""


def test_an_eye_is_its_first_visit_with_an_outcome_and_what_came_before(caplog: pytest.LogCaptureFixture) -> None:
    history = [row(0, "2019-01-01", None, None), row(0, "2018-01-01", None, None), row(0, "2022-01-01", 1.0, 9.0)]
    with caplog.at_level("INFO", "visionfm"):
        found = {sample["sample_id"]: sample for sample in run([*people(), *history])}
    assert len(found) == 10
    eye = found["c/p0/R"]
    assert [image["path"][:13] for image in eye["images"]] == ["p0_2020-01-01", "p0_2019-01-01", "p0_2018-01-01"]
    assert eye["days_before"] == [0.0, 365.0, 730.0]
    assert (eye["worse"], eye["interval_days"], eye["visit"]) == (0.0, 100.0, "2020-01-01")
    assert [found[f"c/p{n}/R"]["visits_with_outcome"] for n in range(3)] == [2, 1, 1]
    assert "1 of 10 eyes have an outcome at several visits: the first of these is the baseline" in caplog.text
    assert "1 images of visits after their eye's baseline are not used" in caplog.text
    assert all(sample["split"] != "test" for sample in artifacts.read_table(TRAIN).to_pylist())


def test_an_outcome_of_a_later_visit_trains_nothing_anew() -> None:
    run([*people(), row(0, "2022-01-01", None, None)])
    before = artifacts.payload_digest(TRAIN)
    run([*people(), row(0, "2022-01-01", 1.0, 9.0)])
    assert artifacts.payload_digest(TRAIN) == before


@pytest.mark.parametrize("regular", [True, False])
def test_progression_of_the_samples_is_that_of_the_people(regular: bool) -> None:
    """Every visit until the event or the end has its days to it: which visit is taken must not depend on the event."""
    rng = np.random.default_rng(5)
    ends, event_days = 1460.0, rng.exponential(1500, 60)
    rows = []
    for person in range(60):
        gaps = np.full(8, 182) if regular else rng.integers(30, 700, 8)
        until = min(event_days[person], ends)
        for visit in (int(day) for day in np.cumsum([0, *gaps]) if day < until):
            date = (datetime.date(2015, 1, 1) + datetime.timedelta(days=visit)).isoformat()
            rows.append(row(person, date, float(event_days[person] <= ends), float(until - visit)))
    found = run(rows)
    assert len(found) == 60 and max(sample["visits_with_outcome"] for sample in found) > 2
    time_N, event_N = (np.array([sample[name] for sample in found]) for name in ("interval_days", "worse"))
    at_T = np.array([182.0, 365.0, 730.0, 1095.0])
    free_T = free_of_event(time_N, event_N == 1, np.ones((1, 60)), at_T)[0]
    assert 1 - free_T == pytest.approx([(event_days <= days).mean() for days in at_T])


def test_modalities_of_one_visit_join_and_only_one_needs_the_outcome() -> None:
    scans = [{**row(n, "2020-01-01", None, None), "path": f"o{n}.png"} for n in range(4)]
    found = run(people(), o=scans)
    assert [image["modality"] for image in found[0]["images"]] == ["Fundus", "OCT"]
    assert found[0]["days_before"] == [0.0, 0.0]


def test_every_problem_of_eyes_is_named() -> None:
    wrong = [
        row(0, "2020-01-01", 1.0, 7.0, path="x.png"),
        row(1, None, None, None),
        row(2, "first", None, None),
        row(3, "2019-01-01", None, None, split="train"),
    ]
    with pytest.raises(DataError) as error:
        run([*people(), *wrong])
    text = str(error.value)
    assert "4 problems" in text
    assert "c/p0/R: the outcomes of one visit disagree: event 0 at 100 days, event 1 at 7 days" in text
    assert "c/p1/R: has 2 images, but visit is unknown for some" in text
    assert "c/p2/R: visits: expected a date" in text
    assert "c/p3/R: its images stand in train and validation" in text


def test_unknown_eyes_are_named() -> None:
    with pytest.raises(DataError, match="eye is unknown"):
        run([*people(), row(0, "2019-01-01", None, None, eye=None)])


@pytest.mark.parametrize("head", ["published", "hazard", "cox"])
def test_a_split_without_events_cannot_be_learned(head: str) -> None:
    rows = [dict(entry, event=0.0) if entry["split"] == "validation" else entry for entry in people()]
    with pytest.raises(DataError, match="no event among 4 samples of the validation split"):
        run(rows, head, "image")


def test_events_everywhere_can_be_learned_from_their_times() -> None:
    assert len(run([dict(entry, event=1.0) for entry in people()], "cox", "image")) == 10


def test_published_head_takes_every_interval_of_an_image_the_others_the_first_seen() -> None:
    several = [
        dict(row(0, "v", event, days), path="many.png") for event, days in ((0.0, 50.0), (1.0, 90.0), (1.0, 99.0))
    ]
    found = [sample for sample in run([*people(), *several], "published", "image") if "many" in sample["sample_id"]]
    assert [sample["sample_id"] for sample in found] == ["f/many.png@50", "f/many.png@90", "f/many.png@99"]
    found = [sample for sample in run([*people(), *several], "hazard", "image") if "many" in sample["sample_id"]]
    assert [(sample["worse"], sample["interval_days"]) for sample in found] == [(1.0, 90.0)]
    with pytest.raises(DataError, match="progressed by day 50, and not by a later one"):
        run([*people(), *(dict(entry, event=1 - entry["event"]) for entry in several)], "cox", "image")


def test_intervals_beyond_the_published_table_are_named_all_at_once() -> None:
    rows = [*people(), row(20, "v", 1.0, 6500.0), row(21, "v", 1.0, 3.5), row(22, "v", 1.0, 6499.0)]
    with pytest.raises(DataError, match="2 problems") as error:
        run(rows, "published", "image")
    assert "expects whole days 0 to 6499, found 6500" in str(error.value) and "found 3.5" in str(error.value)
    assert len(run(rows, "hazard", "image")) == 13
