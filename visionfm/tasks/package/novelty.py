"""How unlike the training images an image is: the Mahalanobis distance of its last CLS token to theirs.

The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf, J Multivar Anal 2004, 88:365), since
there are often fewer images than features. What a distance means is read off the validation images, which the
statistics have not seen: `typicality` is the share of them, the image itself counted, that are at least as far (a
conformal p-value: Vovk, Gammerman and Shafer 2005). Mean and covariance of features name no person.
Shapes: N images, D features of a CLS token.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.features.cache import FeatureStore
from visionfm.tasks.samples import Samples

Floats = npt.NDArray[np.float64]
RARE = 0.01  # an image of lower typicality is doubtful
FEWEST = 2  # training images that have a covariance


class Novelty(NamedTuple):
    """Of the images of one modality."""

    mean_D: Floats
    precision_DD: Floats
    distance_V: Floats  # of the validation images, ascending

    @classmethod
    def of(cls, train_ND: Floats, validation_ND: Floats) -> "Novelty":
        """Fit on training images; validation images say how far is far."""
        from sklearn.covariance import LedoitWolf

        fitted = LedoitWolf().fit(train_ND)
        fresh = cls(fitted.location_, fitted.precision_, np.zeros(0))
        return fresh._replace(distance_V=np.sort(fresh.distance(validation_ND)))

    def distance(self, features_ND: Floats) -> Floats:
        """Return the Mahalanobis distance of each row."""
        away_ND = features_ND - self.mean_D
        square_N = np.einsum("nd,de,ne->n", away_ND, self.precision_DD, away_ND, optimize=True)
        return np.asarray(np.sqrt(np.maximum(square_N, 0)))

    def typicality(self, features_ND: Floats) -> Floats:
        """Return the share of validation images, the image itself counted, that are at least as far: in (0, 1].

        NaN where there are no validation images.
        """
        distance_N, count = self.distance(features_ND), len(self.distance_V)
        if not count:
            return np.full(len(distance_N), np.nan)
        as_far_N = count - np.searchsorted(self.distance_V, distance_N, side="left")
        return np.asarray((1 + as_far_N) / (count + 1))

    def is_rare(self, typicality_N: Floats) -> npt.NDArray[np.bool_]:
        """Return which images are doubtful: rarer than RARE, or, of few validation images, further than all of them."""
        return np.asarray(typicality_N <= max(RARE, 1 / (len(self.distance_V) + 1)))


def fitted(samples: Samples, store: FeatureStore, modalities: list[str]) -> dict[str, Novelty]:
    """Return the statistics of each modality whose training images have some."""
    found = {}
    for modality in modalities:
        parts = []
        for split in ("train", "validation"):
            part = samples.take(samples.in_splits([split]))
            same = [one for one, of in zip(part.references, part.modality_I, strict=True) if of == modality]
            parts.append(last_cls(store, list(dict.fromkeys(same))))
        if len(parts[0]) >= FEWEST:
            found[modality] = Novelty.of(*parts)
    return found


def last_cls(store: FeatureStore, references: list[tuple[str, str, str]]) -> Floats:
    """Return the CLS token of the last block (N, D); of a network of stages its row of pooled stages."""
    if not references:
        return np.zeros((0, 1))
    levels = store.of(references[0][0])[0].cls_NVLD.shape[2]
    features_NF = store.gather(references, "cls", ["identity"])[:, 0].astype(np.float64)
    return features_NF[:, -(features_NF.shape[1] // levels) :]


def tensors(found: Mapping[str, Novelty]) -> dict[str, npt.NDArray[Any]]:
    """Return the statistics as a file holds them; float64, so that typicality is the same wherever it is computed."""
    return {f"{modality}.{name}": array for modality, one in found.items() for name, array in one._asdict().items()}


def read(arrays: Mapping[str, npt.NDArray[Any]], modalities: list[str]) -> dict[str, Novelty]:
    """Return the statistics from a file's tensors."""
    return {
        modality: Novelty(*(arrays[f"{modality}.{name}"] for name in Novelty._fields))
        for modality in modalities
        if f"{modality}.mean_D" in arrays
    }
