"""The index reads each image once: incremental and from scratch give equal bytes."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visionfm import artifacts
from visionfm.artifacts import formats
from visionfm.data import index as stage
from visionfm.data.index import in_shard, index
from visionfm.data.layouts.folders import Listed
from visionfm.data.settings import IndexSettings
from visionfm.errors import DataError

Draw = Callable[..., Path]
SETTINGS = IndexSettings(modality="Fundus", layout="table")


@pytest.fixture
def data(tmp_path: Path, draw: Draw) -> Path:
    for number in range(5):
        date = 1_000_000 + number
        os.utime(draw(tmp_path / f"data/{number % 2}/{number}.png", number), (date, date))
    return tmp_path / "data"


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, as they are read."""
    names: list[str] = []
    inspect = stage.inspect_frames

    def counted(path: Path, *how: Any) -> Any:
        names.append(path.name)
        return inspect(path, *how)

    monkeypatch.setattr(stage, "inspect_frames", counted)
    return names


def rows(path: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = artifacts.read_table(path).to_pylist()
    return table


def test_one_row_a_file_sorted_by_path_with_the_hash_of_its_bytes(data: Path, results: Path) -> None:
    index(data, results / "images.parquet", SETTINGS)
    read = rows(results / "images.parquet")
    assert [row["path"] for row in read] == ["0/0.png", "0/2.png", "0/4.png", "1/1.png", "1/3.png"]
    for row in read:
        content = (data / row["path"]).read_bytes()
        assert row["image_id"] == hashlib.sha256(content).hexdigest() and row["bytes"] == len(content)
        assert (row["modality"], row["width"], row["height"], row["status"]) == ("Fundus", 6, 4, "ok")
    assert artifacts.read_metadata(results / "images.parquet")["schema"] == "visionfm/images/1"


def test_an_unreadable_image_is_a_row_with_its_reason(data: Path, results: Path) -> None:
    (data / "bad.png").write_bytes(b"")
    (data / "gone.png").symlink_to(data / "nowhere")
    index(data, results / "images.parquet", SETTINGS)
    status = {row["path"]: row["status"].split(":")[0] for row in rows(results / "images.parquet")}
    assert (status["bad.png"], status["gone.png"], status["0/0.png"]) == ("empty", "broken_link", "ok")


def test_only_changed_and_new_files_are_read_again(data: Path, results: Path, inspected: list[str], draw: Draw) -> None:
    out = results / "images.parquet"
    index(data, out, SETTINGS)
    assert len(inspected) == 5
    inspected.clear()
    draw(data / "new.png", 9)
    draw(data / "1/3.png", 10)
    (data / "0/0.png").unlink()
    index(data, out, SETTINGS)
    assert sorted(inspected) == ["3.png", "new.png"]
    assert [row["path"] for row in rows(out)] == ["0/2.png", "0/4.png", "1/1.png", "1/3.png", "new.png"]


def test_incremental_equals_from_scratch_byte_for_byte(data: Path, results: Path, draw: Draw) -> None:
    out = results / "images.parquet"
    index(data, out, SETTINGS)
    draw(data / "0/5.png", 5)
    (data / "1/1.png").unlink()
    (data / "broken.jpg").write_bytes(b"no image")
    index(data, out, SETTINGS)
    incremental = out.read_bytes()
    for path in [*results.rglob("*.parquet"), *(results / ".kept").rglob("*.parquet")]:
        path.unlink(missing_ok=True)
    index(data, out, SETTINGS)
    assert out.read_bytes() == incremental


def test_nothing_is_read_when_nothing_changed_even_if_the_index_was_deleted(
    data: Path, results: Path, inspected: list[str]
) -> None:
    out = results / "images.parquet"
    index(data, out, SETTINGS)
    whole = out.read_bytes()
    out.unlink()
    inspected.clear()
    index(data, out, SETTINGS)
    assert inspected == [] and out.read_bytes() == whole


def test_a_touched_file_is_read_again_and_changes_its_date_alone(
    data: Path, results: Path, inspected: list[str]
) -> None:
    out = results / "images.parquet"
    index(data, out, SETTINGS)
    before, digest = rows(out), artifacts.payload_digest(out)
    inspected.clear()
    os.utime(data / "1/1.png", (5, 5))
    index(data, out, SETTINGS)
    after = rows(out)
    assert inspected == ["1.png"] and artifacts.payload_digest(out) == digest
    changed = [
        (old["path"], name) for old, new in zip(before, after, strict=True) for name in old if old[name] != new[name]
    ]
    assert changed == [("1/1.png", "mtime_ns")]


def test_a_damaged_kept_index_is_made_again(data: Path, results: Path, inspected: list[str]) -> None:
    out = results / "images.parquet"
    index(data, out, SETTINGS)
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])  # the kept copy is the same file
    inspected.clear()
    index(data, out, SETTINGS)
    assert len(inspected) == 5 and out.read_bytes() == whole


@pytest.mark.parametrize("change", [{"frame": 0}, {"max_megapixels": 1.0}, {"modality": "OCT"}])
def test_other_settings_of_reading_read_all_files_again(
    change: dict[str, Any], data: Path, results: Path, inspected: list[str]
) -> None:
    index(data, results / "images.parquet", SETTINGS)
    inspected.clear()
    index(data, results / "images.parquet", SETTINGS.model_copy(update=change))
    assert len(inspected) == 5


def test_shards_partition_the_images_and_changing_their_number_reads_nothing(
    data: Path, results: Path, inspected: list[str], draw: Draw
) -> None:
    whole = results / "images.parquet"
    index(data, whole, SETTINGS)
    inspected.clear()
    parts = []
    for shard in range(3):
        out = results / f"images.{shard}.parquet"
        index(data, out, SETTINGS.model_copy(update={"shard": shard, "shards": 3}))
        parts.append(rows(out))
    assert inspected == []
    assert sorted((row for part in parts for row in part), key=lambda row: row["path"]) == rows(whole)
    draw(data / "new.png", 9)
    changed = 0
    for shard in range(3):
        out = results / f"images.{shard}.parquet"
        before = out.read_bytes()
        index(data, out, SETTINGS.model_copy(update={"shard": shard, "shards": 3}))
        changed += out.read_bytes() != before
    assert changed == 1 and inspected == ["new.png"]


def test_kept_thumbnails_pass_through_memory_a_piece_at_a_time(
    data: Path, results: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    index(data, results / "images.parquet", SETTINGS)
    draw(data / "0/3.png", 9)
    index(data, results / "clean/images.parquet", SETTINGS)
    monkeypatch.setattr(stage, "PIECE_ROWS", 2)
    monkeypatch.setattr(formats, "BATCH_ROWS", 1)
    held: list[int] = []
    take = stage._Stored.take
    monkeypatch.setattr(stage._Stored, "take", lambda stored, at: held.append(len(at)) or take(stored, at))
    index(data, results / "images.parquet", SETTINGS)
    assert held == [2, 1, 2]  # of six rows, one of them new
    read, clean = (artifacts.read_table(results / name) for name in ("images.parquet", "clean/images.parquet"))
    assert read.equals(clean) and read.schema.metadata[b"thumbnails"] == clean.schema.metadata[b"thumbnails"]
    assert read.schema.metadata[b"payload_sha256"] == clean.schema.metadata[b"payload_sha256"]


def test_a_neighbour_that_ends_in_between_takes_no_thumbnails_from_a_shard(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    for number in range(24):
        draw(tmp_path / f"many/{number}.png", number)

    def shard(folder: str, number: int, of: int) -> Path:
        out = results / folder / f"images.{number}.parquet"
        index(tmp_path / "many", out, SETTINGS.model_copy(update={"shard": number, "shards": of}))
        return out

    clean = shard("clean", 1, 2)
    for number in range(3):
        shard("d", number, 3)
    read = stage._read

    def slowly(*work: Any) -> Any:
        monkeypatch.setattr(stage, "_read", read)
        shard("d", 0, 2)  # other rows under the name of an index that this one takes rows from
        return read(*work)

    monkeypatch.setattr(stage, "_read", slowly)
    assert shard("d", 1, 2).read_bytes() == clean.read_bytes()


def test_a_file_changed_after_resharding_is_read_once(
    data: Path, results: Path, inspected: list[str], draw: Draw
) -> None:
    index(data, results / "images.parquet", SETTINGS)
    draw(data / "0/0.png", 77)
    for round_ in range(2):
        inspected.clear()
        for shard in range(2):
            settings = SETTINGS.model_copy(update={"shard": shard, "shards": 2})
            (data / "extra.png").unlink(missing_ok=True)
            if round_ == 1:
                draw(data / "extra.png", 1)
            index(data, results / f"images.{shard}.parquet", settings)
        assert inspected == (["0.png"] if round_ == 0 else ["extra.png"])


def test_a_shard_makes_rows_of_its_own_images_alone(data: Path, results: Path) -> None:
    for shard in range(2):
        index(
            data,
            results / f"datasets/d/images.{shard}.parquet",
            SETTINGS.model_copy(update={"shard": shard, "shards": 2}),
        )
    out = results / "datasets/d/images.0.parquet"
    reading = artifacts.read_metadata(out)["reading"]
    mine = [row["path"] for row in rows(out)]
    listed = [Listed(row["path"], row["bytes"], row["mtime_ns"]) for row in rows(out)]
    known, unknown = stage._known_rows(out, reading, [*listed, Listed("new.png", 1, 2)])
    assert mine and known.sorted()["path"].to_pylist() == mine and unknown == [Listed("new.png", 1, 2)]


def test_a_shard_depends_on_the_path_alone() -> None:
    paths = [f"a/{number}.png" for number in range(1000)]
    counts = [sum(in_shard(path, shard, 4) for path in paths) for shard in range(4)]
    assert sum(counts) == 1000 and min(counts) > 200


def test_a_dataset_without_images_is_an_error_in_any_shard(tmp_path: Path, results: Path) -> None:
    (tmp_path / "empty").mkdir()
    for shards in (1, 2):
        with pytest.raises(DataError, match="no images"):
            index(tmp_path / "empty", results / "x.parquet", SETTINGS.model_copy(update={"shards": shards}))
    assert not (results / "x.parquet").exists()


def test_an_empty_shard_is_an_empty_index(data: Path, results: Path) -> None:
    shard = next(number for number in range(100) if not any(in_shard(f"0/{i}.png", number, 100) for i in range(5)))
    settings = SETTINGS.model_copy(update={"shard": shard, "shards": 100, "images": "0/*"})
    index(data, results / "x.parquet", settings)
    assert artifacts.read_table(results / "x.parquet").num_rows == 0


def test_a_file_name_that_no_table_can_hold_is_a_data_error(data: Path, results: Path) -> None:
    Path(os.fsdecode(bytes(data) + b"/\xe4.png")).write_bytes(b"x")
    with pytest.raises(DataError, match="not UTF-8"):
        index(data, results / "images.parquet", SETTINGS)


def test_an_image_that_cannot_be_opened_is_an_error_and_no_row_for_ever(
    data: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = stage.inspect_frames

    def refused(path: Path, *how: Any) -> Any:
        found = inspect(path, *how)
        denied = found[0].facts._replace(status="no_access: Permission denied")
        return [found[0]._replace(facts=denied)] if path.name == "1.png" else found

    with monkeypatch.context() as patch:
        patch.setattr(stage, "inspect_frames", refused)
        patch.setattr(stage, "PARTIAL_EVERY_S", -1.0)  # what was read before stays, for the next run
        with pytest.raises(DataError, match=r"1/1.png: no_access"):
            index(data, results / "images.parquet", SETTINGS)
    assert not (results / "images.parquet").exists()
    index(data, results / "images.parquet", SETTINGS)  # the right to read it was given, which changes no date
    assert {row["status"] for row in rows(results / "images.parquet")} == {"ok"}


def test_several_processes_give_the_same_bytes(tmp_path: Path, results: Path, draw: Draw) -> None:
    for number in range(40):
        draw(tmp_path / f"many/{number}.png", number)
    index(tmp_path / "many", results / "one/images.parquet", SETTINGS, jobs=1)
    index(tmp_path / "many", results / "two/images.parquet", SETTINGS, jobs=2)
    assert (results / "one/images.parquet").read_bytes() == (results / "two/images.parquet").read_bytes()


def test_an_interrupted_index_goes_on_from_its_partial_rows(
    data: Path, results: Path, monkeypatch: pytest.MonkeyPatch, inspected: list[str]
) -> None:
    out = results / "a" / "images.parquet"
    monkeypatch.setattr(stage, "PARTIAL_EVERY_S", -1.0)
    inspect, last = stage.inspect_frames, "4.png"

    def stopped(path: Path, *how: Any) -> Any:
        if path.name == last:
            raise KeyboardInterrupt
        return inspect(path, *how)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "inspect_frames", stopped)
        with pytest.raises(KeyboardInterrupt):
            index(data, out, SETTINGS)
    assert not out.exists() and len(list(results.rglob("*.partial.parquet"))) == 1
    inspected.clear()
    index(data, out, SETTINGS)
    assert sorted(inspected) == ["1.png", "3.png", "4.png"]
    assert sorted(path.name for path in results.rglob("*.parquet")) == ["images.parquet", "images.parquet"]
    index(data, results / "scratch" / "images.parquet", SETTINGS)
    assert (results / "scratch" / "images.parquet").read_bytes() == out.read_bytes()
