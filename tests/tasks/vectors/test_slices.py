"""Slices of a volume become one vector: one diseased slice in fifty is found by attention, and shown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from world.decoder_data import (
    BINARY,
    answered,
    image,
    predict_settings,
    splits_of,
    train_settings,
    write_cache,
    write_samples,
)

from visionfm.features.cache import FeatureStore
from visionfm.tasks.samples import Samples
from visionfm.tasks.vectors.feature_arrays import digest, gather
from visionfm.tasks.vectors.slices import ATTENTIONS, SlicePooling, Slices

SLICES, WIDTH = 50, 24


def volumes(count: int, seed: int, strength: float = 8.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of slices, which differ between eyes; in every second volume one slice, somewhere, has a sign."""
    rng = np.random.default_rng(seed)
    features_NID = rng.normal(size=(count, SLICES, WIDTH)) + rng.normal(size=(count, 1, WIDTH))
    sick_N, place_N = rng.permutation(np.arange(count) % 2), rng.integers(SLICES, size=count)
    sign_D = rng.normal(size=WIDTH)
    features_NID[sick_N == 1, place_N[sick_N == 1]] += strength * sign_D / np.linalg.norm(sign_D)
    return features_NID, sick_N, place_N


def scored(
    folder: Path, features_NID: np.ndarray, truth_N: np.ndarray, slices: str, seed: int = 0, **changes: Any
) -> Any:
    """Predictions of the test volumes by a decoder trained on the others."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(truth_N)
    names = [f"{n:03}#{i:02}" for n in range(count) for i in range(SLICES)]
    rows = features_NID.reshape(count * SLICES, 1, WIDTH)
    cache = write_cache(folder / "c.h5", rows[:, :, None], rows, ("identity",), names)
    images = [[{"modality": "OCT", "dataset": "eyes", "path": name, "image_id": f"{name:0>64}"}
               for name in names[n * SLICES : (n + 1) * SLICES]] for n in range(count)]  # fmt: skip
    table = write_samples(
        folder / "s.parquet", images, splits_of(count), {"sick": truth_N.astype(float)}, BINARY, "concat"
    )
    same = {"modalities": ["OCT"], "fusion": "concat"}
    settings = train_settings(seed=seed, slices=slices, features="patch_mean", **same, **changes)
    found = answered(folder, table, cache, settings, predict_settings(**same))
    return found[found["split"] == "test"]


def auroc(found: Any) -> float:
    return float(roc_auc_score(found["truth"], [scores[0] for scores in found["scores"]]))


def looked_at(found: Any, place_N: np.ndarray) -> float:
    """The share of sick test volumes whose diseased slice has the largest weight."""
    sick = found[found["truth"] == 1]
    largest = [max(slices, key=lambda one: one["weight"])["image_id"][-2:] for slices in sick["slices"]]
    return float(
        np.mean([int(at) == place_N[int(name[1:])] for at, name in zip(largest, sick["sample_id"], strict=True)])
    )


def test_attention_finds_the_one_diseased_slice_in_fifty(tmp_path: Path) -> None:
    features_NID, sick_N, place_N = volumes(300, seed=0)
    assert auroc(scored(tmp_path / "mean", features_NID, sick_N, "mean")) < 0.65
    found = scored(tmp_path / "attention", features_NID, sick_N, "attention")
    assert auroc(found) >= 0.95 and looked_at(found, place_N) >= 0.9


@pytest.mark.slow
def test_attention_finds_it_with_every_seed(tmp_path: Path) -> None:
    for seed in range(3):
        features_NID, sick_N, place_N = volumes(500, seed)
        means = auroc(scored(tmp_path / f"mean{seed}", features_NID, sick_N, "mean", seed))
        found = scored(tmp_path / f"attention{seed}", features_NID, sick_N, "attention", seed)
        assert means < 0.65 and auroc(found) >= 0.95 and looked_at(found, place_N) >= 0.9, seed


def eyes(folder: Path, slices: str) -> Any:
    """Predictions of eyes that have a photograph, up to five slices, or both; and their images."""
    folder.mkdir(exist_ok=True)
    rng, truth_N = np.random.default_rng(0), np.arange(60) % 2
    images, names = [], []
    for n in range(len(truth_N)):
        of_eye = ["Fundus"] * (n % 3 != 0) + ["OCT"] * (n % 5 + (n % 3 == 0))
        here = [f"{n:03}{modality}{at}" for at, modality in enumerate(of_eye)]
        images.append(
            [
                {"modality": modality, "dataset": "eyes", "path": name, "image_id": f"{name:0>64}"}
                for modality, name in zip(of_eye, here, strict=True)
            ]
        )
        names += here
    rows = (
        rng.normal(size=(len(names), 1, 4)) + np.array([3.0 * truth_N[int(name[:3])] for name in names])[:, None, None]
    )
    cache = write_cache(folder / "c.h5", rows[:, :, None], rows, ("identity",), names)
    table = write_samples(
        folder / "s.parquet", images, splits_of(60), {"sick": truth_N.astype(float)}, BINARY, "concat"
    )
    same = {"modalities": ["Fundus", "OCT"], "fusion": "concat"}
    settings = train_settings(slices=slices, features="patch_mean", epochs=8, **same)
    return answered(folder, table, cache, settings, predict_settings(**same)), images


def test_weights_of_a_modality_add_up_to_one_and_are_said_once(tmp_path: Path) -> None:
    found, images = eyes(tmp_path, "attention")
    both = found[found["subset"] == "all"]
    assert set(found["subset"]) == {"all", "Fundus", "OCT"} and found[found["subset"] != "all"]["slices"].isna().all()
    for sample_id, slices in zip(both["sample_id"], both["slices"], strict=True):
        of_eye = images[int(sample_id[1:])]
        assert [one["image_id"] for one in slices] == [one["image_id"] for one in of_eye]
        for modality in {one["modality"] for one in of_eye}:
            weights = [s["weight"] for s, one in zip(slices, of_eye, strict=True) if one["modality"] == modality]
            assert sum(weights) == pytest.approx(1, abs=1e-6) and min(weights) > 0


@pytest.mark.parametrize("slices", ["mean", "max"])
def test_without_attention_nothing_is_said_of_slices(slices: str, tmp_path: Path) -> None:
    found, _ = eyes(tmp_path, slices)
    assert "slices" not in found.columns and np.isfinite([score[0] for score in found["scores"]]).all()


def test_the_same_again_is_the_same_bytes(tmp_path: Path) -> None:
    eyes(tmp_path / "a", "attention")
    eyes(tmp_path / "b", "attention")
    for name in ("d.safetensors", "p.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_maximum_is_that_of_each_feature(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(5, 1, 3)).astype(np.float32)
    store = FeatureStore({"eyes": [write_cache(tmp_path / "c.h5", rows[:, :, None], rows, ("identity",))]})
    images = [image(n, modality="OCT") for n in range(5)]
    references = [(one["dataset"], one["path"], one["image_id"]) for one in images]
    sample_I, modality_I = np.array([0, 0, 0, 1, 1]), np.full(5, "OCT", object)
    samples = Samples({"sample_id": np.array(["a", "b"])}, np.zeros((2, 1)), sample_I, modality_I, references)

    def gathered(slices: str) -> Any:
        return gather(samples, store, ["OCT"], "concat", "patch_mean", ["identity"], slices=slices)[0]

    assert (gathered("max").features_RVF[:, 0] == [rows[:3, 0].max(0), rows[3:, 0].max(0)]).all()
    all_of_them = gathered("attention")
    assert (all_of_them.features_RVF == rows).all() and all_of_them.used_R.tolist() == [0, 1, 2, 3, 4]
    assert all_of_them.of(np.array([False, True])).used_R.tolist() == [3, 4]
    assert digest([all_of_them]) != digest([replace(all_of_them, count_N=np.array([2, 3]), row_N=np.array([0, 2]))])


def test_what_stands_beyond_its_slices_cannot_reach_a_sample_and_their_order_does_not_matter() -> None:
    torch.manual_seed(0)
    pooling, slices_BIF, own = SlicePooling([6]).eval(), torch.randn(3, 7, 6), Slices(torch.tensor([[7], [1], [4]]))
    (pooled_BF,) = pooling([slices_BIF], own)
    other_BIF = slices_BIF.clone()
    other_BIF[1, 1:], other_BIF[2, 4:] = 99, -99
    assert torch.equal(pooling([other_BIF], own)[0], pooled_BF)
    assert (pooling.weights([slices_BIF], own)[0][2, 4:] == 0).all()
    torch.testing.assert_close(pooled_BF[1], torch.cat([slices_BIF[1, 0], torch.zeros(6)]))
    torch.testing.assert_close(pooled_BF[2, :6], slices_BIF[2, :4].mean(0))
    moved_BIF = slices_BIF[:1, torch.randperm(7)]
    torch.testing.assert_close(pooling([moved_BIF], Slices(own.count_BS[:1]))[0], pooled_BF[:1])


def test_in_training_each_attention_answers_and_a_sample_with_nothing_shown_is_seen_whole() -> None:
    pooling, slices_BIF = SlicePooling([6]), torch.randn(2, 5, 6)
    shown_BSI = torch.tensor([[[True, False, True, False, False]], [[False] * 5]])
    (pooled_XF,) = pooling([slices_BIF], Slices(torch.tensor([[5], [3]]), shown_BSI))
    assert pooled_XF.shape == (2 * ATTENTIONS, 12) and pooled_XF.isfinite().all()
    other_BIF = slices_BIF.clone()
    other_BIF[0, [1, 3, 4]] = 99
    assert torch.equal(pooling([other_BIF], Slices(torch.tensor([[5], [3]]), shown_BSI))[0], pooled_XF)
