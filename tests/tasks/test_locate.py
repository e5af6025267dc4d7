"""Stage `locate`: places and neighbours come from features and training samples; labels and answers play no part."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from world.decoder_data import BINARY, image, planted, splits_of, write_cache, write_samples

from visionfm import artifacts
from visionfm.tasks.locate import locate
from visionfm.tasks.settings import LocateSettings

COUNT = 60
SETTINGS = LocateSettings(targets=BINARY, modalities=["Fundus"], features="cls")


class World:
    """Samples with features in which one hidden value says nearly all; `copies`: test sample -> its training twin."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.splits = folder, splits_of(COUNT)
        cls_NVLD, patch_mean_NVD, self.hidden_N = planted(COUNT)
        cls_NVLD[..., 0] += 60 * self.hidden_N[:, None, None]
        tests, trained = ([n for n, split in enumerate(self.splits) if split == one] for one in ("test", "train"))
        self.copies = dict(zip(tests, trained, strict=False))
        for test, twin in self.copies.items():
            cls_NVLD[test], self.hidden_N[test] = cls_NVLD[twin], self.hidden_N[twin]
        self.files = {"eyes": [write_cache(folder / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}

    def located(self, labels: np.ndarray, name: str = "locations") -> Path:
        """Run the stage with these labels."""
        images = [[image(n)] for n in range(COUNT)]
        write_samples(self.folder / "samples.parquet", images, self.splits, {"sick": labels * 1.0}, BINARY)
        out = self.folder / f"{name}.parquet"
        locate(self.folder / "samples.parquet", self.files, out, SETTINGS)
        return out


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_copy_of_a_training_image_is_its_nearest_neighbour_and_only_training_images_are(world: World) -> None:
    rows = artifacts.read_table(world.located(world.hidden_N > 0)).to_pylist()
    by_id = {row["sample_id"]: row for row in rows}
    for test, twin in world.copies.items():
        row = by_id[f"s{test:04}"]
        assert row["neighbours"][0] == f"s{twin:04}" and row["distances"][0] < 1e-3
        assert row["distances"] == sorted(row["distances"]) and row["distances"][1] > 1e-3
        assert {by_id[name]["split"] for name in row["neighbours"]} == {"train"}
    trained = {name for name, row in by_id.items() if row["split"] == "train"}
    assert all(set(row["neighbours"]) <= trained - {row["sample_id"]} and row["neighbours"] for row in rows)


def test_a_training_sample_has_no_neighbour_of_its_own_person(world: World) -> None:
    samples = world.located(world.hidden_N > 0).with_name("samples.parquet")
    table = artifacts.read_table(samples)
    split_N, metadata = table.column("split").to_numpy(zero_copy_only=False), artifacts.read_metadata(samples)
    pair = np.flatnonzero(split_N == "train")[:2]
    people = table.column("subject_id").to_pylist()
    people[pair[1]] = people[pair[0]]
    table = table.set_column(1, "subject_id", pa.array(people)).replace_schema_metadata(None)
    extra = {key: metadata[key] for key in ("targets", "modalities", "fusion", "unit")}
    artifacts.write_table(samples, table, artifacts.provenance("fuse", {"one": "person"}, {}),
                          schema="visionfm/samples/1", extra=extra)  # fmt: skip
    locate(samples, world.files, samples.with_name("people.parquet"), SETTINGS.model_copy(update={"neighbours": COUNT}))
    near = {
        row["sample_id"]: row["neighbours"]
        for row in artifacts.read_table(samples.with_name("people.parquet")).to_pylist()
    }
    one, other = (f"s{n:04}" for n in pair)
    trained = int((split_N == "train").sum())
    assert other not in near[one] and one not in near[other] and len(near[one]) == trained - 2
    assert sum(len(names) == trained for names in near.values()) == COUNT - trained


def test_neighbours_of_pooled_samples_are_of_their_modality(world: World) -> None:
    names = ["Fundus" if n % 2 else "FFA" for n in range(COUNT)]
    images = [[image(n, modality=name)] for n, name in enumerate(names)]
    samples, out = world.folder / "samples.parquet", world.folder / "pooled.parquet"
    write_samples(samples, images, world.splits, {"sick": np.zeros(COUNT)}, BINARY)
    locate(samples, world.files, out, SETTINGS.model_copy(update={"modalities": ["Fundus", "FFA"]}))
    for row in artifacts.read_table(out).to_pylist():
        near = {names[int(name[1:])] for name in row["neighbours"]}
        assert near == {names[int(row["sample_id"][1:])]}


def test_the_first_axis_of_the_map_is_what_features_differ_by_most(world: World) -> None:
    path = world.located(world.hidden_N > 0)
    x_N = artifacts.read_table(path).column("x").to_numpy()
    assert abs(np.corrcoef(x_N, world.hidden_N)[0, 1]) > 0.9
    first, second = json.loads(artifacts.read_metadata(path)["variance_shares"])
    assert 0 < second < first < 1


def test_new_labels_move_nothing_and_a_second_run_gives_the_same_bytes(world: World) -> None:
    first = world.located(world.hidden_N > 0).read_bytes()
    assert world.located(world.hidden_N < 0).read_bytes() == first
    assert artifacts.payload_digest(world.located(world.hidden_N < 0, "again")) == artifacts.payload_digest(
        world.folder / "locations.parquet"
    )
