"""The training samples that a k-NN decoder compares with: its file names them, their features stay in the caches.

The file says which images a sample has, in which caches they are (relative to the decoder's folder), and the digest of
the features as the head sees them. Invariant: a decoder answers with exactly the features that it was fitted to, or not
at all. Shapes: N training samples, I images, F features.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from visionfm.errors import ArtifactError
from visionfm.features.cache import FeatureStore
from visionfm.images.transforms import VIEWS
from visionfm.tasks.samples import Samples
from visionfm.tasks.vectors import feature_arrays as streams_of
from visionfm.tasks.vectors.feature_arrays import Statistics
from visionfm.tasks.vectors.spec import located
from visionfm.tasks.vectors.training import Batches

DO = (
    "leave the decoder in its results folder and run again, or have `visionfm handover` write one that holds these "
    "features where they still are"
)


@dataclass(frozen=True)
class Neighbours:
    """Which features the rows of a head are; an image is known by its digest, for a path may say whose eye it is."""

    caches: Mapping[str, Sequence[str]]  # dataset -> its files, relative to the decoder's folder
    sha256: str  # of rows_NF
    sample_I: Sequence[int]
    modality_I: Sequence[str]
    dataset_I: Sequence[str]
    image_id_I: Sequence[str]

    @classmethod
    def of(cls, samples: Samples, caches: Mapping[str, Sequence[str]], rows_NF: torch.Tensor) -> "Neighbours":
        """Return it for the training samples, whose features, fused, are `rows_NF`."""
        image_ids = [image_id for _, _, image_id in samples.references]
        datasets = [dataset for dataset, _, _ in samples.references]
        sample_I, modality_I = samples.sample_I.tolist(), [str(name) for name in samples.modality_I]
        return cls(caches, digest(rows_NF), sample_I, modality_I, datasets, image_ids)

    @classmethod
    def read(cls, tensor: npt.NDArray[np.uint8]) -> "Neighbours":
        """Return it from a decoder's file."""
        return cls(**json.loads(tensor.tobytes()))

    def tensor(self) -> npt.NDArray[np.uint8]:
        """Return it as a decoder's file holds it: the bytes of JSON."""
        return np.frombuffer(json.dumps(asdict(self)).encode(), np.uint8)

    def rows(self, network: Any, standardisation: Statistics, decoder: Path) -> torch.Tensor:
        """Return rows_NF from the caches; ArtifactError where they are not there, or not those of the fit."""
        spec = network.spec
        store = self._store(decoder)
        samples = self._samples(store, decoder)
        views, slices = VIEWS[:1], spec.slices
        streams = streams_of.gather(samples, store, spec.modalities, spec.fusion, spec.features, views, slices=slices)
        del store
        streams_of.standardise(streams, standardisation)
        rows_NF = torch.from_numpy(fused(network, Batches.of(streams, spec.widths, samples.truth_NT, "cpu")))
        if (found := digest(rows_NF)) != self.sha256:
            raise ArtifactError(
                f"the caches hold other features of its training images than {decoder.name} was fitted to",
                expected=f"features with the sha256 {self.sha256}",
                found=found,
                where=decoder,
                do="run again, so that it is fitted to those of now",
            )
        return rows_NF

    def _store(self, decoder: Path) -> FeatureStore:
        files = {dataset: [located(decoder, name) for name in names] for dataset, names in self.caches.items()}
        if missing := [str(file) for several in files.values() for file in several if not file.is_file()]:
            raise ArtifactError(
                f"{decoder.name} answers by its {max(self.sample_I) + 1} training samples, and their features are gone",
                expected="the caches " + ", ".join(str(file) for several in files.values() for file in several),
                found=f"no {', '.join(missing)}",
                where=decoder,
                do=DO,
            )
        return FeatureStore(files)

    def _samples(self, store: FeatureStore, decoder: Path) -> Samples:
        paths = {
            (dataset, image_id): path
            for dataset, file in zip(store.datasets, store.files, strict=True)
            for path, image_id in zip(file.paths, file.image_ids, strict=True)
        }
        wanted = list(zip(self.dataset_I, self.image_id_I, strict=True))
        if gone := [f"{dataset}: {image_id[:12]}" for dataset, image_id in wanted if (dataset, image_id) not in paths]:
            raise ArtifactError(
                f"the caches have no features of {len(gone)} of the images that {decoder.name} answers by",
                expected="all of them",
                found=f"no {', '.join(gone[:6])}",
                where=decoder,
                do=DO,
            )
        sample_I = np.array(self.sample_I, np.int64)
        names_N = np.array([f"neighbour {n}" for n in range(int(sample_I[-1]) + 1)], object)
        ids = dict.fromkeys(("sample_id", "subject_id", "dataset", "split"), names_N)
        references = [(dataset, paths[dataset, image_id], image_id) for dataset, image_id in wanted]
        truth_NT = np.zeros((len(names_N), 0))
        return Samples(ids, truth_NT, sample_I, np.array(self.modality_I, object), references)


def digest(rows_NF: torch.Tensor) -> str:
    """Return the sha256 of the rows as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(rows_NF.numpy().astype("<f4", copy=False)).data).hexdigest()


def fused(network: Any, batches: Batches) -> npt.NDArray[np.float32]:
    """Return features_NF as a decoder's head sees them, from the identity view."""
    at_N = torch.arange(len(batches))
    with torch.no_grad():
        features_NF: npt.NDArray[np.float32] = network.fusion(batches.features(at_N), batches.present_NS).numpy()
    return features_NF
