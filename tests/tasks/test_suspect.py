"""Stage `suspect`: identical images that differ, then labels that neighbours contradict; test labels have no vote."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from world.decoder_data import BINARY, image, planted, splits_of, write_cache, write_samples

from visionfm import artifacts
from visionfm.data.audit import SCHEMA as AUDIT
from visionfm.data.findings import COPY, Finding
from visionfm.tasks.locate import locate
from visionfm.tasks.settings import LocateSettings, SuspectSettings
from visionfm.tasks.suspect import IDENTICAL, suspect

COUNT = 120
SETTINGS = SuspectSettings(targets=BINARY, modalities=["Fundus"], draws=20)


class World:
    """Samples whose label is a hidden value's sign, and whose features say it; images 10 and 12 are identical."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.splits = folder, splits_of(COUNT)
        cls_NVLD, patch_mean_NVD, self.hidden_N = planted(COUNT)
        cls_NVLD[..., 0] += 60 * self.hidden_N[:, None, None]
        self.sick_N = (self.hidden_N > 0) * 1.0
        self.files = {"eyes": [write_cache(folder / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}

    def rows(
        self, labels: np.ndarray, name: str = "suspects", settings: SuspectSettings = SETTINGS, same: str = IDENTICAL
    ) -> list[dict]:
        samples, audit, out = (self.folder / f"{one}.parquet" for one in ("samples", "audit", name))
        write_samples(samples, [[image(n)] for n in range(COUNT)], self.splits, {"sick": labels}, BINARY)
        locations = self.folder / "locations.parquet"
        locate(samples, self.files, locations, LocateSettings(targets=BINARY, modalities=["Fundus"], features="cls"))
        places = ["eyes", "0010.png", "train", "eyes", "0012.png", "train"]
        found = Finding("contradiction", "note", *places, f"{same}, different labels")
        schema = pa.schema([(column, pa.string()) for column in Finding._fields])
        table = pa.Table.from_pylist([found._asdict()], schema=schema)
        artifacts.write_table(audit, table, artifacts.provenance("audit", {}, {}), schema=AUDIT)
        suspect(samples, locations, audit, out, settings)
        self.about = json.loads(artifacts.read_metadata(out)["about"])["sick"]
        return artifacts.read_table(out).to_pylist()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_identical_images_come_first_then_wrong_labels_of_any_split(world: World) -> None:
    sure = np.argsort(-np.abs(world.hidden_N))
    wrong = [next(n for n in sure if world.splits[n] == split and n not in (10, 12)) for split in ("train", "test")]
    labels = world.sick_N.copy()
    labels[wrong] = 1 - labels[wrong]
    labels[10] = 1 - labels[12]
    rows = world.rows(labels)
    assert [row["sample_id"] for row in rows[:2]] == ["s0010", "s0012"]
    assert [row["others"] for row in rows[:2]] == [["s0012"], ["s0010"]]
    assert {row["sample_id"] for row in rows[2:4]} == {f"s{n:04}" for n in wrong}
    assert [row["reason"] for row in rows[:4]] == ["identical images"] * 2 + ["neighbours"] * 2
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows[2:4]:
        assert row["likely"] == 1 - row["label"] and len(row["others"]) == 3
        assert row["sample_id"] not in row["others"]


def test_copies_of_a_photograph_are_not_called_identical(world: World) -> None:
    labels = world.sick_N.copy()
    labels[10] = 1 - labels[12]
    assert [row["reason"] for row in world.rows(labels, same=COPY)[:2]] == ["copies"] * 2


def test_planted_errors_are_found_and_the_estimate_holds_for_others(world: World) -> None:
    world.rows(world.sick_N)
    few, many = (next(one for one in world.about["planted"] if one["share"] == share) for share in (0.01, 0.05))
    assert few["among"] == 72 and few["changed"] == 1 and many["changed"] == 4
    assert few["mean"] > 0.09 and many["mean"] > 0.3, "of the first 10 labels, 1 and 4 of which were changed"
    rng, hits = np.random.default_rng(9), []
    for draw in range(5):
        labels, wrong = world.sick_N.copy(), rng.choice(np.flatnonzero(np.array(world.splits) == "train"), 4, False)
        labels[wrong] = 1 - labels[wrong]
        train = [row for row in world.rows(labels, f"draw{draw}") if row["split"] == "train"][:10]
        hits.append(np.mean([int(row["sample_id"][1:]) in wrong for row in train]))
    assert abs(np.mean(hits) - many["mean"]) < 0.15


def test_test_labels_have_no_vote_and_external_ones_are_not_judged(world: World) -> None:
    first = {row["sample_id"]: row["quality"] for row in world.rows(world.sick_N)}
    about = [one for one in world.about["planted"] if one["first"] == 10]
    tested = np.array(world.splits) == "test"
    other = {
        row["sample_id"]: row["quality"]
        for row in world.rows(np.where(tested, 1 - world.sick_N, world.sick_N), "other")
    }
    assert {n: q for n, q in first.items() if not tested[int(n[1:])]}.items() <= other.items()
    assert about == [one for one in world.about["planted"] if one["first"] == 10]
    rows = world.rows(world.sick_N, "none", SETTINGS.model_copy(update={"external": ["eyes"]}))
    assert rows == [] and "0 training labels" in world.about["reason"]


def test_a_second_run_gives_the_same_bytes(world: World) -> None:
    world.rows(world.sick_N)
    first = (world.folder / "suspects.parquet").read_bytes()
    world.rows(world.sick_N, "again")
    assert artifacts.payload_digest(world.folder / "again.parquet") == artifacts.payload_digest(
        world.folder / "suspects.parquet"
    )
    assert first == (world.folder / "suspects.parquet").read_bytes()
