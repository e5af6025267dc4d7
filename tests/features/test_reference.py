"""The benchmarks' reference computes what the published system computes."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from world.checkout import CHECKOUT, SHARED, golden_weights

FUNDUS_MEAN = (0.423737496137619, 0.2609460651874542, 0.128403902053833)
FUNDUS_STD = (0.29482534527778625, 0.20167365670204163, 0.13668020069599152)

sys.path.insert(0, str(CHECKOUT))
from bench import reference  # noqa: E402


def test_the_reference_encoder_gives_the_golden_features() -> None:
    encoder = reference.ReferenceEncoder(golden_weights())
    golden = np.load(SHARED / "golden" / "features_vit_tiny.npz")
    images_BCHW = torch.from_numpy(golden["images_224"]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (FUNDUS_MEAN, FUNDUS_STD))
    taps = encoder((images_BCHW - mean) / std)
    cls_BLD = torch.stack([tokens[:, 0] for tokens in taps], 1).numpy()
    np.testing.assert_allclose(cls_BLD, golden["cls_last4"], atol=1e-4)
    np.testing.assert_allclose(taps[-1][:, 1:].mean(1).numpy(), golden["patch_mean_last"], atol=1e-4)


def test_the_reference_run_writes_the_golden_features_one_pickle_an_image_and_pass(tmp_path: Path) -> None:
    encoder = reference.ReferenceEncoder(golden_weights())
    golden = np.load(SHARED / "golden" / "features_vit_tiny.npz")
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, image in zip(paths, golden["images_224"], strict=True):
        Image.fromarray(image).save(path)
    reference.extract(
        encoder, paths, tmp_path / "once", mean=FUNDUS_MEAN, std=FUNDUS_STD, passes=1, augment=False, workers=0
    )
    np.testing.assert_allclose(reference.read_pickles(tmp_path / "once"), golden["cls_last4"], atol=1e-4)
    reference.extract(encoder, paths[:2], tmp_path / "twice", mean=FUNDUS_MEAN, std=FUNDUS_STD, passes=2, workers=0)
    assert sorted(path.name for path in (tmp_path / "twice").iterdir()) == [
        "0_0.pickle",
        "0_1.pickle",
        "1_0.pickle",
        "1_1.pickle",
    ]
