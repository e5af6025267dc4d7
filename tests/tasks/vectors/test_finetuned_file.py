"""A file that RETFound's own script fine-tuned is encoder and decoder at once, and gives its own probabilities."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import world.encoder_fakes  # noqa: F401 - registers the fakes with timm
from PIL import Image
from world.decoder_data import image, predict_settings, write_samples

from visionfm import artifacts, cli
from visionfm.errors import DataError
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.vectors.decoder import load_decoder

PX, COUNT = 56, 5
NETWORKS = {"mean": ("fake_plain", "avg", 64), "cls": ("fake_dinov2", "token", 56)}
IMAGENET = "0.485,0.456,0.406/0.229,0.224,0.225"


def fine_tuned(folder: Path, kind: str, classes: int) -> tuple[Path, torch.nn.Module, int]:
    arch, pool, px = NETWORKS[kind]
    torch.manual_seed(2)
    model = timm.create_model(arch, num_classes=classes, global_pool=pool, img_size=px).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1 + (parameter.ndim == 1) * 0.3)
    content = {"model": dict(model.state_dict()), "epoch": 3, "args": {"nb_classes": classes}}
    torch.save(content, folder / "checkpoint-best.pth")
    return folder / "checkpoint-best.pth", model, px


def probabilities(model: torch.nn.Module, photos: list[Path]) -> np.ndarray:
    mean, std = (torch.tensor([float(x) for x in part.split(",")]).view(3, 1, 1) for part in IMAGENET.split("/"))
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1) / 255 for photo in photos])
    with torch.no_grad():
        return model((pixels - mean) / std).softmax(1).numpy()


@pytest.mark.parametrize("kind", NETWORKS)
def test_embed_and_predict_give_the_networks_own_probabilities(kind: str, tmp_path: Path) -> None:
    file, model, px = fine_tuned(tmp_path, kind, 3)
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    photos = [folder / f"{n}.png" for n in range(COUNT)]
    for photo in photos:
        Image.fromarray(rng.integers(0, 256, (px, px, 3), np.uint8)).save(photo)
    said = ["--arch", NETWORKS[kind][0], "--statistics", IMAGENET, "--size", str(px), "--modality", "Fundus"]
    cache, out = tmp_path / "photos.h5", tmp_path / "answers.csv"
    embed = ["embed", str(folder), "--encoder", str(file), *said, "--dtype", "float32", "--device", "cpu"]
    assert cli.main([*embed, "--workers", "0", "--out", str(cache)]) == 0
    classes = ["--classes", "none", "some", "much"]
    decoder = ["predict", "--decoder", str(file), "--features", f"photos={cache}", *classes, "--out", str(out)]
    assert cli.main(decoder) == 0
    found = pd.read_csv(out).sort_values("path")[["label.none", "label.some", "label.much"]].to_numpy()
    assert found == pytest.approx(probabilities(model, photos), abs=1e-5)

    targets = {"grade": TargetSpec(type="multiclass", classes=["none", "some", "much"])}
    rows = [[{**image(n, "photos"), "path": photo.name}] for n, photo in enumerate(photos)]
    ids = artifacts.read_hdf5(cache, ("path", "image_id"))[0]
    known = dict(zip(ids["path"], ids["image_id"], strict=True))
    for row in rows:
        row[0]["image_id"] = known[row[0]["path"]]
    write_samples(tmp_path / "s.parquet", rows, ["test"] * COUNT, {"grade": [0.0, 1, 2, 0, 1]}, targets)
    predict(file, tmp_path / "s.parquet", {"photos": [cache]}, tmp_path / "p.parquet", predict_settings(targets))
    scores_NK = np.stack(artifacts.read_table(tmp_path / "p.parquet").to_pandas()["scores"])
    assert scores_NK == pytest.approx(probabilities(model, photos), abs=1e-5), "as `decoder: FILE` of a task"


@pytest.mark.parametrize("kind", NETWORKS)
def test_of_two_classes_a_binary_target_has_the_probability_of_the_second(kind: str, tmp_path: Path) -> None:
    file, model, _ = fine_tuned(tmp_path, kind, 2)
    settings = predict_settings({"sick": TargetSpec(type="binary", classes=["no", "yes"])})
    loaded = load_decoder(file, settings)
    features_BF = torch.randn(4, loaded.spec.widths[0])
    with torch.no_grad():
        found = loaded.network([features_BF], torch.ones(4, 1, dtype=torch.bool)).sigmoid()[:, 0]
        expected = model.head(features_BF[:, -64:]).softmax(1)[:, 1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_other_classes_and_other_questions_are_errors(tmp_path: Path) -> None:
    file, _, _ = fine_tuned(tmp_path, "mean", 3)
    with pytest.raises(DataError, match="do not fit the targets"):
        load_decoder(file, predict_settings({"a": TargetSpec(type="multiclass", classes=["x", "y", "z", "w"])}))
    two = {"a": TargetSpec(type="binary"), "b": TargetSpec(type="multiclass", classes=["x", "y"])}
    with pytest.raises(DataError, match="exclude each other"):
        load_decoder(file, predict_settings(two))
