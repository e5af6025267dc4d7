"""What people see: k-NN on validation images alone, a warning on collapse, TensorBoard where it is asked for."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from world.pretraining_recipes import pair
from world.small_training import FUNDUS, Small

from visionfm import artifacts
from visionfm.errors import DataError, UsageError
from visionfm.pretraining.block import Knn
from visionfm.pretraining.monitoring import Labelled, Monitor, knn_accuracy
from visionfm.pretraining.settings import ImageSetSettings

ROW = {"epoch": 1, "step": 5, "loss": 1.0, "loss_cls": 0.5, "loss_patch": 0.5, "agreement": 0.5, "knn": None}


def labelled(small: Small, splits: list[str], values: list[int | None]) -> Labelled:
    path = small.folder / "results" / "labels.parquet"
    names = sorted(file.name for file in small.root.iterdir())[: len(splits)]
    table = pa.table({"path": names, "split": splits, "grade": values})
    artifacts.write_table(path, table, artifacts.provenance("label", {}, {}), schema="visionfm/labels/1")
    return Labelled(path, small.root, ImageSetSettings(modality="Fundus"), FUNDUS, 64)


def test_knn_finds_the_same_image_again_and_never_opens_a_test_image(tmp_path: Path) -> None:
    small = Small(tmp_path, images=6)
    names = sorted(small.root.iterdir())
    names[3].write_bytes(names[0].read_bytes())
    names[4].write_bytes(names[1].read_bytes())
    names[5].write_bytes(b"no image")
    given = labelled(small, ["train", "train", "train", "validation", "validation", "test"], [0, 1, 1, 0, 1, 1])
    assert knn_accuracy(pair().teacher.backbone, given, Knn(dataset="eyes", target="grade", k=1)) == 1.0


def test_knn_measures_without_the_chance_that_training_needs(tmp_path: Path) -> None:
    small = Small(tmp_path, images=6)
    given = labelled(small, ["train", "train", "train", "validation", "validation", "train"], [0, 1, 1, 0, 1, 1])
    backbone = pair().teacher.backbone
    dropped = torch.nn.Dropout(0.9)
    backbone.vit.patch_drop = dropped
    backbone.train()
    choice = Knn(dataset="eyes", target="grade", k=3)
    assert len({knn_accuracy(backbone, given, choice) for _ in range(4)}) == 1
    assert backbone.training and dropped.training, "training goes on as it was"


def test_knn_without_validation_labels_or_such_a_label_is_an_error(tmp_path: Path) -> None:
    small = Small(tmp_path, images=2)
    given = labelled(small, ["train", "validation"], [0, None])
    backbone = pair().teacher.backbone
    with pytest.raises(DataError, match="1 train, 0 validation"):
        knn_accuracy(backbone, given, Knn(dataset="eyes", target="grade"))
    with pytest.raises(DataError, match="no such label"):
        knn_accuracy(backbone, given, Knn(dataset="eyes", target="dr"))


def test_a_training_writes_its_knn_into_the_curves(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from visionfm.cli import main

    small = Small(tmp_path, images=12)
    given = labelled(small, ["train"] * 8 + ["validation"] * 4, [0, 1] * 6)
    choice = Knn(dataset="eyes", target="grade", every=2, k=3)
    settings = small.settings(epochs=2, knn=choice, knn_images=ImageSetSettings(modality="Fundus"))
    flags = ["--knn-labels", str(given.labels), "--knn-root", str(small.root)]
    assert main([*small.arguments(settings), *flags]) == 0
    first, second = pq.read_table(small.curves)["knn"].to_pylist()
    assert first is None and 0 <= second <= 1


def test_a_collapse_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor([], tmp_path, None, None)
    with caplog.at_level("INFO", "visionfm"):
        for rank in (40.0, 1.2, 1.1):
            monitor.show({**ROW, "rank_me": rank}, images=64)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "collapsed" in caplog.text and "images/s" in caplog.text


def test_tensorboard_gets_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    Monitor(["tensorboard"], tmp_path, None, None).show({**ROW, "rank_me": 3.0}, images=8)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_monitor_that_is_not_installed_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UsageError, match="wandb is asked for and not installed"):
        Monitor(["wandb"], tmp_path, None, None)


def test_knn_features_do_not_move_the_networks(tmp_path: Path) -> None:
    small = Small(tmp_path, images=4)
    given = labelled(small, ["train", "train", "validation", "validation"], [0, 1, 0, 1])
    backbone = pair().teacher.backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    knn_accuracy(backbone, given, Knn(dataset="eyes", target="grade", k=1))
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
