"""Features are standardised piece by piece, in place, with the very bits of numpy's mean and deviation of all."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from visionfm.tasks.vectors import feature_arrays
from visionfm.tasks.vectors.feature_arrays import Stream, digest, scaling, standardise, statistics
from visionfm.tasks.vectors.training import Batches


@pytest.mark.parametrize(("rows", "views", "width"), [(700, 4, 5), (257, 1, 64), (3, 2, 768)])
def test_mean_and_deviation_are_those_of_all_training_rows_at_once(rows: int, views: int, width: int) -> None:
    rng = np.random.default_rng(rows)
    features_RVF = (rng.normal(2, 30, (rows, views, width))).astype(np.float32)
    modality_R = rng.choice(["Fundus", "OCT"], rows).astype(object)
    modality_R[:2] = ["Fundus", "OCT"]
    keep_N = rng.random(rows) < 0.7
    keep_N[:2] = True
    stream = Stream("image", features_RVF.copy(), modality_R, np.arange(rows))
    known = statistics([stream.of(keep_N)])
    standardise([stream], known)
    for name in ("Fundus", "OCT"):
        trained_RVF = features_RVF[keep_N & (modality_R == name)]
        mean_F, std_F = (of(axis=(0, 1), dtype=np.float64) for of in (trained_RVF.mean, trained_RVF.std))
        std_F = np.where(std_F <= feature_arrays.CONSTANT_STD * (1 + np.abs(mean_F)), 1, std_F)
        mean_F, std_F = mean_F.astype(np.float32), std_F.astype(np.float32)
        assert np.array_equal(known[name][0], mean_F) and np.array_equal(known[name][1], std_F)
        of_name = modality_R == name
        assert np.array_equal(stream.features_RVF[of_name], (features_RVF[of_name] - mean_F) / std_F)


def test_some_of_the_samples_share_the_rows_of_all() -> None:
    stream = Stream("OCT", np.zeros((2, 1, 3), np.float32), np.array(["OCT"] * 2, object), np.array([1, -1, 0]))
    part = stream.of(np.array([False, True, True]))
    assert part.features_RVF is stream.features_RVF and part.row_N.tolist() == [-1, 0] and part.used_R.tolist() == [0]


def test_a_few_rows_at_a_time_are_standardised_as_all_at_once() -> None:
    generator = np.random.default_rng(0)
    stored = generator.normal(3, 2, (40, 2, 7)).astype(np.float16)
    modality_R = np.where(np.arange(40) % 3 == 0, "OCT", "Fundus").astype(object)
    half = Stream("image", stored, modality_R, np.arange(40))
    whole = replace(half, features_RVF=stored.astype(np.float32))
    known = statistics([half])
    assert all(
        np.array_equal(*pair) for name in known for pair in zip(known[name], statistics([whole])[name], strict=True)
    )
    assert digest([half]) == digest([whole])
    batches = Batches.of([half], [7], np.zeros((40, 1)), "cpu", scalings={0: scaling(half, known)})
    standardise([whole], known)
    at_B, view_BS = torch.tensor([3, 0, 39, 8]), torch.tensor([[1], [0], [1], [0]])
    expected = whole.features_RVF[at_B.numpy(), view_BS[:, 0].numpy()]
    assert np.array_equal(batches.features(at_B, view_BS)[0].numpy(), expected)
