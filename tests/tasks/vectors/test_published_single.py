"""Single-modality classification as published: features, head, training; its files applied to any images."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional
from world.decoder_data import image, planted, predict_settings, splits_of, train_settings, write_cache, write_samples

from visionfm import artifacts, cli
from visionfm.encoders.importing import import_encoder
from visionfm.encoders.settings import ImportSettings
from visionfm.encoders.vit import load_encoder
from visionfm.errors import DataError, UsageError
from visionfm.features.cache import FeatureStore
from visionfm.tasks.predict import predict
from visionfm.tasks.settings import TargetSpec
from visionfm.tasks.train import train
from visionfm.tasks.vectors.heads import ClsHead

GRADES = {"grade": TargetSpec(type="multiclass", classes=["none", "some", "much"])}
COUNT = 60


@pytest.mark.parametrize("features", ["cls", "patch_mean", "both"])
def test_each_feature_choice_and_the_head_on_it_are_the_golden_ones(shared, tmp_path, features):
    golden = np.load(shared / "golden" / "features_vit_tiny.npz")
    weights = str(shared / "golden" / "visionfm_vit_tiny_teacher.pth")
    import_encoder(
        ImportSettings(modality="Fundus", weights=weights, interpolation="bicubic"), tmp_path / "e.safetensors"
    )
    encoder = load_encoder(tmp_path / "e.safetensors")
    assert encoder.interpolation == "bicubic"
    images_BCHW = torch.from_numpy(golden["images_224"]).permute(0, 3, 1, 2)
    cls_NLD, patch_mean_ND = (part.numpy()[:, None] for part in encoder.cls_and_mean(images_BCHW))
    write_cache(tmp_path / "c.h5", cls_NLD, patch_mean_ND, ["identity"])
    references = [("eyes", f"{n:04}.png", f"{n:04}.png".rjust(64, "0")) for n in range(4)]
    found_NF = FeatureStore({"eyes": [tmp_path / "c.h5"]}).gather(references, features)[:, 0]
    parts = {"cls": [golden["cls_last4"].reshape(4, -1)], "patch_mean": [golden["patch_mean_last"]]}
    expected_NF = np.concatenate(parts.get(features, [*parts["cls"], *parts["patch_mean"]]), axis=1)
    assert np.abs(found_NF - expected_NF).max() < 1e-5 * max(1.0, float(np.abs(expected_NF).max()))
    torch.manual_seed(0)
    head = ClsHead(expected_NF.shape[1], 5).eval()
    with torch.no_grad():
        outputs = [head(torch.from_numpy(np.ascontiguousarray(x))) for x in (found_NF, expected_NF)]
    assert torch.allclose(*outputs, atol=1e-5)


def test_the_recipe_is_the_published_one():
    recipe = train_settings(GRADES, recipe="published").recipe
    assert (recipe.head, recipe.features, recipe.optimizer, recipe.weight_decay) == ("ClsHead", "cls", "adamw", 0.05)
    assert (recipe.epochs, recipe.batch_size, recipe.selection, recipe.standardise) == (100, 512, "f1", False)
    rates = [recipe.learning_rate(epoch, 512, 3072) for epoch in (0, 50, 99)]
    assert rates == pytest.approx([2e-3 * 0.5 * (1 + math.cos(math.pi * e / 100)) for e in (0, 50, 99)])


def test_training_on_cached_views_takes_the_published_steps(tmp_path):
    """One view and no dropout: every weight is that of a plain PyTorch loop over the same batches."""
    cls_NVLD, patch_mean_NVD, hidden_N = planted(COUNT)
    files = {"eyes": [write_cache(tmp_path / "c.h5", cls_NVLD[:, :1], patch_mean_NVD[:, :1], ["identity"])]}
    labels = {"grade": np.digitize(hidden_N, [-0.4, 0.4]).astype(float)}
    table = write_samples(tmp_path / "s.parquet", [[image(n)] for n in range(COUNT)], splits_of(COUNT), labels, GRADES)
    from visionfm.tasks.vectors import heads

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "DROPOUT", 0.0)
        settings = train_settings(GRADES, recipe="published", epochs=3)
        train(table, files, tmp_path / "d.safetensors", tmp_path / "t.parquet", settings)
        torch.manual_seed(_seed("start"))
        plain = ClsHead(24, 3)
    learned = np.array(splits_of(COUNT)) == "train"
    x_NF = torch.from_numpy(cls_NVLD[learned, 0].reshape(learned.sum(), -1).astype(np.float32))
    y_N = torch.from_numpy(labels["grade"][learned].astype(np.int64))
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.05)
    states = []
    for epoch in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 512 / 256 * 0.5 * (1 + math.cos(math.pi * epoch / 3))
        optimizer.zero_grad()
        functional.cross_entropy(plain.train()(x_NF), y_N).backward()  # one batch per epoch: its order changes nothing
        optimizer.step()
        states.append({name: value.clone().numpy() for name, value in plain.state_dict().items()})
    best = artifacts.read_table(tmp_path / "t.parquet").to_pandas().query("best").epoch.item()
    found = artifacts.read_tensors(tmp_path / "d.safetensors")[0]
    for name, expected in states[best - 1].items():
        assert np.abs(found[name] - expected).max() < 1e-5, name


def _seed(*what):
    from visionfm.runtime.randomness import derived_seed

    return derived_seed(0, *what)


# --- evaluate only --------------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(tmp_path):
    cls_NVLD, patch_mean_NVD, _ = planted(COUNT)
    return write_cache(tmp_path / "photos.h5", cls_NVLD, patch_mean_NVD), cls_NVLD[:, 0].reshape(COUNT, -1)


def published(path, outputs, entry="state_dict", width=24):
    torch.manual_seed(1)
    head = ClsHead(width, outputs).eval()
    torch.nn.init.normal_(head.channel_bn.running_mean)
    state = {f"module.{name}": value for name, value in head.state_dict().items()}
    torch.save({"epoch": 9, entry: state, "best_f1": np.float64(0.7), "optimizer": {}}, path)
    return head


@pytest.mark.parametrize(
    ("name", "entry"),
    [("checkpoint_teacher_linear.pth", "state_dict"), ("checkpoint_best_finetune.pth", "classifier_state_dict")],
)
def test_a_published_file_scores_every_image_of_a_cache(embedded, tmp_path, name, entry):
    cache, features_NF = embedded
    head = published(tmp_path / name, 3, entry)
    arguments = ["predict", "--decoder", str(tmp_path / name), "--features", f"photos={cache}"]
    arguments += ["--classes", "none", "some", "much", "--out", str(tmp_path / "answers.csv")]
    assert cli.main(arguments) == 0
    found = pd.read_csv(tmp_path / "answers.csv")
    with torch.no_grad():
        expected = head(torch.from_numpy(features_NF.astype(np.float32))).softmax(1).numpy()
    assert found.path.tolist() == [f"{n:04}.png" for n in range(COUNT)]
    assert found[["label.none", "label.some", "label.much"]].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_a_published_binary_file_gives_one_probability(embedded, tmp_path):
    cache, features_NF = embedded
    head = published(tmp_path / "d.pth", 1)
    out = tmp_path / "answers.parquet"
    assert (
        cli.main(["predict", "--decoder", str(tmp_path / "d.pth"), "--features", f"p={cache}", "--out", str(out)]) == 0
    )
    with torch.no_grad():
        expected = head(torch.from_numpy(features_NF.astype(np.float32))).sigmoid()[:, 0].numpy()
    assert artifacts.read_table(out).to_pandas().label.to_numpy() == pytest.approx(expected, abs=1e-5)


def test_a_decoder_of_this_project_scores_images_as_its_task_does(embedded, tmp_path):
    cache, _ = embedded
    hidden_N = planted(COUNT)[2]
    labels = {"grade": np.digitize(hidden_N, [-0.4, 0.4]).astype(float)}
    rows = [[image(n)] for n in range(COUNT)]
    table = write_samples(tmp_path / "s.parquet", rows, splits_of(COUNT), labels, GRADES)
    decoder = tmp_path / "d.safetensors"
    train(table, {"eyes": [cache]}, decoder, tmp_path / "t.parquet", train_settings(GRADES, epochs=2))
    predict(decoder, tmp_path / "s.parquet", {"eyes": [cache]}, tmp_path / "p.parquet", predict_settings(GRADES))
    out = tmp_path / "answers.parquet"
    assert cli.main(["predict", "--decoder", str(decoder), "--features", f"eyes={cache}", "--out", str(out)]) == 0
    found = artifacts.read_table(out).to_pandas().set_index("path")
    expected = artifacts.read_table(tmp_path / "p.parquet").to_pandas()
    for row in expected.to_dict("records"):
        path = f"{int(row['sample_id'][1:]):04}.png"
        answer = found.loc[path, ["grade.none", "grade.some", "grade.much"]].to_numpy(dtype=float)
        assert answer == pytest.approx(row["scores"], abs=1e-6)


def test_other_classes_than_the_file_has_and_other_features_are_errors(embedded, tmp_path):
    from visionfm.tasks.vectors.any_images import predict_images

    published(tmp_path / "d.pth", 3)
    with pytest.raises(UsageError, match="--classes does not fit"):
        predict_images(tmp_path / "d.pth", {"p": [embedded[0]]}, tmp_path / "a.csv", ["one", "two"])
    published(tmp_path / "wide.pth", 3, width=40)
    with pytest.raises(DataError, match="features do not fit the decoder"):
        predict_images(tmp_path / "wide.pth", {"p": [embedded[0]]}, tmp_path / "a.csv", None)
    with pytest.raises(UsageError, match="kind of output"):
        predict_images(tmp_path / "d.pth", {"p": [embedded[0]]}, tmp_path / "a.txt", None)
