"""The sound decoder on real photographs (IDRiD, any DR against none), beside scikit-learn's logistic regression."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from world.checkout import SHARED
from world.decoder_data import BINARY, image, predict_settings, train_settings, write_cache, write_samples

from visionfm import artifacts
from visionfm.encoders.checkpoints import read_checkpoint
from visionfm.images.transforms import VIEWS, flip
from visionfm.tasks.predict import predict
from visionfm.tasks.train import train

GOLDEN = SHARED / "golden" / "visionfm_vit_tiny_teacher.pth"
LABELS = SHARED / "data" / "idrid" / "labels.csv"
MEAN = (0.423737496137619, 0.2609460651874542, 0.128403902053833)
STD = (0.29482534527778625, 0.20167365670204163, 0.13668020069599152)


def features(paths):
    """cls_NVLD and patch_mean_NVD of the golden (untrained) tiny encoder at 224 px."""
    import timm

    teacher = read_checkpoint(GOLDEN).content["teacher"]
    weights = {k.removeprefix("backbone."): v.float() for k, v in teacher.items() if k.startswith("backbone.")}
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    encoder.load_state_dict(weights)
    cls, patch_mean = [], []
    for path in paths:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        views = np.stack([flip(pixels, view) for view in VIEWS])
        x = torch.from_numpy(((views / 255 - MEAN) / STD).astype(np.float32)).permute(0, 3, 1, 2)
        with torch.no_grad():
            taps = encoder.get_intermediate_layers(x, n=4, norm=True, return_prefix_tokens=True)
        cls.append(np.stack([prefix[:, 0].numpy() for _, prefix in taps], axis=1))
        patch_mean.append(taps[-1][0].mean(1).numpy())
    return np.stack(cls), np.stack(patch_mean)


@pytest.mark.slow
def test_sound_decoder_is_as_good_as_logistic_regression_on_the_same_rows(tmp_path):
    if not (GOLDEN.is_file() and LABELS.is_file()):
        pytest.skip("no ../shared with the golden encoder and IDRiD")
    table = pd.read_csv(LABELS)
    sick_N = (table.dr_grade.to_numpy() > 0).astype(float)
    cls_NVLD, patch_mean_NVD = features([SHARED / "data" / "idrid" / path for path in table.image])
    files = {"eyes": [write_cache(tmp_path / "eyes.cls224.h5", cls_NVLD, patch_mean_NVD)]}
    flat_NVF = np.concatenate([cls_NVLD.reshape(*cls_NVLD.shape[:2], -1), patch_mean_NVD], axis=2)
    ours, reference = [], []
    for fold, (rest, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(sick_N, sick_N)):
        learn, check = train_test_split(rest, test_size=0.15, stratify=sick_N[rest], random_state=0)
        splits = np.full(len(sick_N), "train", object)
        splits[check], splits[test] = "validation", "test"
        images = [[image(n)] for n in range(len(sick_N))]
        samples = write_samples(tmp_path / "samples.parquet", images, splits, {"sick": sick_N}, BINARY)
        decoder = tmp_path / f"{fold}.safetensors"
        train(samples, files, decoder, tmp_path / f"{fold}.parquet", train_settings(seed=fold))
        out = tmp_path / f"{fold}-predictions.parquet"
        predict(decoder, tmp_path / "samples.parquet", files, out, predict_settings(splits=["test"]))
        found = artifacts.read_table(out).to_pandas()
        ours.append(roc_auc_score(found.truth, found.scores.str[0]))
        rows = flat_NVF[learn].reshape(-1, flat_NVF.shape[2])
        mean, std = rows.mean(0), rows.std(0)
        model = LogisticRegression(C=1 / len(VIEWS), max_iter=200)  # each image counts once
        model.fit((rows - mean) / std, np.repeat(sick_N[learn], len(VIEWS)))
        reference.append(roc_auc_score(sick_N[test], model.decision_function((flat_NVF[test, 0] - mean) / std)))
    print(f"AUROC: decoder {np.mean(ours):.3f}, logistic regression {np.mean(reference):.3f}")
    assert np.mean(ours) > 0.77
    assert np.mean(ours) > np.mean(reference) - 0.025
