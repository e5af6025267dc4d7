"""Dense tasks from cached or streamed tokens to masks and points: learned, resumed and repeated exactly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from world.dense_project import HEIGHT, MASK, WIDTH, DenseProject, write_encoder
from world.stopping import AfterSteps

from visionfm import artifacts, cli
from visionfm.artifacts.archive import Archive
from visionfm.errors import DataError, Stopped, UsageError
from visionfm.images.masks import read_mask
from visionfm.tasks.maps import training as dense_training
from visionfm.tasks.segmentation.fit import THRESHOLDS


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "encoder.safetensors")


@pytest.fixture
def new(tmp_path: Path, encoder: Path) -> Callable[..., DenseProject]:
    return lambda name="run", **options: DenseProject(tmp_path / name, encoder, **options)


@pytest.fixture
def project(new: Callable[..., DenseProject]) -> DenseProject:
    found = new()
    found.dense()
    return found


def test_discs_are_found_and_masks_have_the_originals_size_name_and_values(project: DenseProject) -> None:
    project.train(epochs=25, batch_size=1, patience=25)
    rows = project.predict()
    assert [row["path"] for row in rows] == ["img/4.png", "img/5.png", "img/6.png"]
    archive = Archive(project.run / "masks.zip")
    assert archive.names == ["eyes/img/4.png", "eyes/img/5.png", "eyes/img/6.png"]
    found = read_mask(archive.read(rows[1]["mask"]), MASK["disc"].values)
    truth = read_mask(project.root / rows[1]["mask_path"], MASK["disc"].values)
    assert found.shape == (HEIGHT, WIDTH)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85
    with Image.open(project.run / "masks/eyes/img/5.png") as image:
        assert set(np.unique(np.asarray(image))) == {0, 255} and image.mode == "L"
    maps = Archive(project.run / "probabilities.zip").read(rows[1]["mask"])
    (project.folder / "p.png").write_bytes(maps)
    with Image.open(project.folder / "p.png") as image:
        p = np.asarray(image).astype(np.float64) / 65535
    threshold = float(artifacts.read_metadata(project.run / "decoder.safetensors")["threshold"])
    np.testing.assert_array_equal(p > threshold, found == 1)
    measured = project.measure()
    dice = measured["img/5.png"]["disc", "dice"]
    assert dice == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert rows[2]["mask_path"] is None and "img/6.png" not in measured, "an image without truth is predicted too"


def test_points_are_found_in_px_of_the_original_and_absent_ones_cost_nothing(project: DenseProject) -> None:
    project.train("landmarks", epochs=40, batch_size=1, patience=40, target_width=3)
    rows = project.predict("landmarks")
    assert len(rows) == 6 and [row["target"] for row in rows[:2]] == ["left", "right"]
    measured = [row for row in rows if row["truth_x"] is not None]
    errors = [np.hypot(row["x"] - row["truth_x"], row["y"] - row["truth_y"]) for row in measured]
    assert len(errors) == 4 and np.mean(errors) < 6, "px of an image 96 px wide; its discs have a radius of 12"
    assert all(0 <= row["score"] <= 1 for row in rows)


def test_streamed_and_cached_tokens_give_the_same_decoder(new: Callable[..., DenseProject]) -> None:
    cached, streamed = new("cached"), new("streamed")
    cached.dense()
    streamed.dense(max_gb=1e-9)
    assert cached.train() == streamed.train()
    assert cached.predict() == streamed.predict()
    for one, other in zip(cached.outputs.all(), streamed.outputs.all(), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_training_from_the_cache_never_runs_the_encoder(project: DenseProject, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("the encoder was loaded")

    monkeypatch.setattr("visionfm.features.encode.load", never)
    project.train()
    project.predict(tta="flips")


@pytest.mark.parametrize("head", ["light", "unetr"])
def test_a_stopped_training_goes_on_bit_for_bit(
    new: Callable[..., DenseProject], monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    stopped, whole = new("stopped"), new("whole")
    stopped.dense()
    whole.dense()

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("visionfm.tasks.loop.stop_on_signal", lambda: AfterSteps(5))
        stopped.train(head=head, epochs=4)
    assert stopped.train(head=head, epochs=4) == whole.train(head=head, epochs=4)
    assert not list(stopped.folder.rglob("state.safetensors"))


def test_the_truth_of_test_images_changes_no_decoder(new: Callable[..., DenseProject]) -> None:
    one, other = new("one"), new("other")
    other.rows[5] |= {"mask_path": other.rows[0]["mask_path"], "mask_id": other.rows[0]["mask_id"]}
    one.dense()
    other.dense()
    assert one.train() == other.train()


def test_an_unchanged_stage_is_recalled_and_its_folder_of_masks_restored(
    project: DenseProject, caplog: pytest.LogCaptureFixture
) -> None:
    first = project.train()
    rows = project.predict()
    (project.run / "masks/eyes/img/5.png").unlink()
    for path in [project.run / "decoder.safetensors", *project.outputs.all()]:
        path.unlink()
    with caplog.at_level("INFO"):
        assert project.train() == first and project.predict() == rows
    assert caplog.text.count("unchanged: ") == 5 and (project.run / "masks/eyes/img/5.png").is_file()


@pytest.mark.parametrize("augmentation", ["rich", "affine", "none"])
@pytest.mark.parametrize("kind", ["segmentation", "landmarks"])
def test_every_augmentation_trains(project: DenseProject, kind: str, augmentation: str) -> None:
    project.train(kind, augmentation=augmentation, epochs=1)
    assert project.predict(kind)


def test_native_resolution_goes_by_tiles(project: DenseProject) -> None:
    project.train(tile_overlap=0.25, epochs=2)
    rows = project.predict(tile_overlap=0.25)
    mask = Archive(project.run / "masks.zip").read(rows[0]["mask"])
    assert read_mask(mask, MASK["disc"].values).shape == (HEIGHT, WIDTH)


def test_bf16_class_weights_schedules_and_the_published_recipe_train(project: DenseProject) -> None:
    for changed in (
        {"crop_px": 32, "batch_size": 3},
        {"precision": "bf16", "class_weighting": "balanced", "schedule": "step"},
        {"recipe": "published", "epochs": 2},
        {"head": "linear", "epochs": 1, "schedule": "constant"},
    ):
        assert project.train(**changed)
    table = artifacts.read_table(project.run / "training.parquet")
    assert {"epoch", "train_loss", "validation_loss", "selection", "lr", "n_train"} <= set(table.column_names)


def test_the_threshold_is_the_best_on_validation_or_the_one_given(project: DenseProject) -> None:
    decoder = project.run / "decoder.safetensors"
    project.train()
    chosen = json.loads(artifacts.read_metadata(decoder)["threshold"])
    assert chosen in THRESHOLDS
    found = {}
    for threshold in {0.3, chosen, 0.8}:
        project.train(threshold=threshold)
        assert json.loads(artifacts.read_metadata(decoder)["threshold"]) == threshold
        (row,) = project.predict(splits=["validation"])
        found[threshold] = project.measure()[row["path"]]["disc", "dice"]
    assert found[chosen] >= max(found.values()) - 0.02, "validation counts px of the input, predictions of the original"
    project.train(recipe="published", epochs=1)
    assert json.loads(artifacts.read_metadata(decoder)["threshold"]) == 0.5


def test_a_schedule_is_really_stepped(project: DenseProject) -> None:
    project.train(recipe="published", epochs=5)
    lr = artifacts.read_table(project.run / "training.parquet").column("lr").to_pylist()
    assert lr == pytest.approx([1e-3 * 0.5**epoch for epoch in range(5)])


def test_predictions_hold_one_image_at_a_time(project: DenseProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.train(epochs=1)
    alive: list[int] = []
    real = dense_training.DenseInput.__call__

    def counted(self: Any, wanted: Any) -> Any:
        alive.append(len(wanted))
        return real(self, wanted)

    monkeypatch.setattr(dense_training.DenseInput, "__call__", counted)
    project.predict()
    assert alive == [1, 1, 1]


@pytest.mark.parametrize("kind", ["segmentation", "landmarks"])
def test_a_folder_of_images_is_predicted_as_the_task_predicts_them(project: DenseProject, kind: str) -> None:
    project.train(kind, epochs=1)
    rows = project.predict(kind)
    flags = ["--decoder", project.run / "decoder.safetensors", "--images", project.root / "img"]
    flags += ["--encoder", project.encoder, "--out", project.folder / "found.parquet"]
    settings = json.dumps({"kind": kind, "threads": 1})
    if kind == "segmentation":
        (project.folder / "mine").mkdir()
        (project.folder / "mine/1.png").write_bytes(b"an annotation")
        theirs = [*map(str, flags), "--masks-out", str(project.folder / "mine.zip")]
        assert cli.main(["predict", *theirs, "--settings", settings]) == 2, "a user's folder is not unpacked into"
        assert (project.folder / "mine/1.png").is_file() and not (project.folder / "found.parquet").exists()
        flags += ["--masks-out", project.folder / "found.zip"]
    assert cli.main(["predict", *map(str, flags), "--settings", settings]) == 0
    found = artifacts.read_table(project.folder / "found.parquet").to_pylist()
    assert len(found) == 7 * (1 if kind == "segmentation" else 2), "every image of the folder"
    if kind == "segmentation":
        ours, theirs = Archive(project.folder / "found.zip"), Archive(project.run / "masks.zip")
        assert ours.read("images/5.png") == theirs.read("eyes/img/5.png")
    else:
        by_path = {(row["path"], row["target"]): (row["x"], row["y"]) for row in found}
        assert all(by_path[row["path"].removeprefix("img/"), row["target"]] == (row["x"], row["y"]) for row in rows)


def test_what_is_missing_is_said(project: DenseProject) -> None:
    with pytest.raises(UsageError, match="--roots lacks datasets"):
        project.files.roots.clear()
        files = project.files
        files.roots.clear()
        files.check(["eyes"])
    for row in project.rows:
        row["mask_path"] = row["mask_path"] if row["split"] != "validation" else None
    project.write_tables()
    with pytest.raises(DataError, match="no validation image with a mask"):
        project.train()
    assert json.loads(artifacts.read_metadata(project.cache)["blocks"]) == [3, 5, 7, 11]
