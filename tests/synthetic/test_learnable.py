"""The easy set can be learnt, permuted labels cannot; mean patches and a ridge stand in for an untrained encoder."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from visionfm.synthetic.drawing import draw
from visionfm.synthetic.findings import DISEASES, FACTORS, Findings, draw_findings

SIZE, PATCH = 112, 8  # 14 x 14 patches, as a ViT/16 has at 224 px
TRAINING, TEST = 190, 90


def mean_patch(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The average patch and the average normalised patch: what an untrained transformer hardly goes beyond."""
    pixels = image.astype(np.float64) / 255 - 0.3
    cells = pixels.reshape(14, PATCH, 14, PATCH, 3).transpose(0, 2, 1, 3, 4).reshape(196, -1)
    norms = np.linalg.norm(cells, axis=1, keepdims=True)
    return np.concatenate([cells.mean(axis=0), (cells / norms).mean(axis=0)])


@pytest.fixture(scope="module", params=["OCT"])
def eyes(request: pytest.FixtureRequest) -> tuple[npt.NDArray[np.float64], list[Findings]]:
    features, findings = [], []
    for person in range((TRAINING + TEST) // 2):
        for side, eye in draw_findings(np.random.default_rng([0, person])).items():
            image = draw(request.param, eye, np.random.default_rng([0, person, ord(side)]), SIZE)
            features.append(mean_patch(image))
            findings.append(eye)
    scaled = StandardScaler().fit(features[:TRAINING]).transform(features)
    return scaled, findings


def fitted(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    model = RidgeCV(np.logspace(0, 4, 9)).fit(x[:TRAINING], y[:TRAINING])
    return np.asarray(model.predict(x[TRAINING:]))


def test_diseases_are_read_from_mean_patches(eyes: tuple[npt.NDArray[np.float64], list[Findings]]) -> None:
    x, findings = eyes
    table = np.asarray([eye.diseases for eye in findings], np.float64)
    areas = {
        name: roc_auc_score(table[TRAINING:, column], fitted(x, table[:, column]))
        for column, name in enumerate(DISEASES)
    }
    assert min(areas.values()) > 0.85 and np.mean(list(areas.values())) > 0.95, areas


def test_factors_are_read_from_mean_patches(eyes: tuple[npt.NDArray[np.float64], list[Findings]]) -> None:
    x, findings = eyes
    factors = np.asarray([eye.factors for eye in findings])
    scores = {
        name: r2_score(factors[TRAINING:, column], fitted(x, factors[:, column])) for column, name in enumerate(FACTORS)
    }
    assert min(scores.values()) > 0.8, scores


def test_permuted_labels_cannot_be_read(eyes: tuple[npt.NDArray[np.float64], list[Findings]]) -> None:
    x, findings = eyes
    glaucoma = np.asarray([eye.has("Glaucoma") for eye in findings], np.float64)
    areas = []
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(glaucoma)
        areas.append(roc_auc_score(shuffled[TRAINING:], fitted(x, shuffled)))
    assert 0.45 < np.mean(areas) < 0.55
