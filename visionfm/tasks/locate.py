"""Stage `locate`: where samples lie among the features, and which training samples lie nearest.

Writes locations.parquet, a row per sample that a run's decoder knows or is asked: its place on a map of two principal
components, and the nearest of the training split (of a training sample those of other people). Labels and answers play
no part: a new label moves nothing.
Invariant: mean, deviation and components are those of the training samples, so that test data steer nothing.
Shapes: N samples, R training samples, Q asked samples, F features, K neighbours.
"""

import argparse
import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.images.transforms import VIEWS
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks.samples import IDS, Samples, read_samples
from visionfm.tasks.settings import LocateSettings
from visionfm.tasks.train import store_of
from visionfm.tasks.vectors import feature_arrays as streams_of

if TYPE_CHECKING:
    import torch

SCHEMA = "visionfm/locations/1"
PIECE = 512  # samples whose distances are held at once
SKETCH, PASSES = 12, 8  # of the randomised principal components (Halko, Martinsson and Tropp 2011)
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--samples", required=True, type=Path, help="samples.parquet")
    parser.add_argument("--features", required=True, nargs="+", metavar="DATASET=FILE", help="feature caches")
    parser.add_argument("--out", required=True, type=Path, help="locations.parquet")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = LocateSettings.model_validate_json(args.settings)
    locate(args.samples, by_dataset(args.features), args.out, settings)


def locate(samples_table: Path, files: dict[str, list[Path]], out: Path, settings: LocateSettings) -> None:
    """Publish the places of all samples; see the module."""
    samples = read_samples(samples_table, settings.targets, settings.modalities)
    store = store_of(samples, files)
    modalities, fusion = settings.modalities, settings.fusion
    streams = streams_of.gather(samples, store, modalities, fusion, settings.features, VIEWS[:1])
    del store
    inputs = {"who": _who(samples), "features": streams_of.digest(streams)}
    made_by = artifacts.provenance("locate", settings.model_dump(mode="json", exclude={"targets"}), inputs)
    if artifacts.recall(out, made_by):
        return
    import pyarrow as pa
    import torch

    train_N = samples.in_splits(["train"])
    person_N = np.unique(samples.ids["subject_id"].astype(str), return_inverse=True)[1]
    streams_of.standardise(streams, streams_of.statistics([stream.of(train_N) for stream in streams]))
    features_NF = torch.from_numpy(side_by_side(streams, len(samples)))
    with reproducible():
        place_N2, shares = on_map(features_NF, torch.from_numpy(train_N))
        # The split divides people; where it does not (an allowed leak), the page shows that a person stands in both.
        own_N = torch.from_numpy(np.where(train_N, person_N, -1))
        space_N = torch.from_numpy(_spaces(samples, settings))
        nearest_NK, distance_NK = neighbours(
            features_NF, features_NF[train_N], settings.neighbours, own_N, space_N, space_N[train_N]
        )
    names_R = samples.ids["sample_id"][train_N]
    there_NK = np.isfinite(distance_NK)
    near = [names_R[places_K[there_K]].tolist() for places_K, there_K in zip(nearest_NK, there_NK, strict=True)]
    far = [distances_K[there_K].tolist() for distances_K, there_K in zip(distance_NK, there_NK, strict=True)]
    columns = {
        **{name: pa.array(samples.ids[name].tolist(), pa.string()) for name in IDS},
        "x": pa.array(place_N2[:, 0], pa.float64()),
        "y": pa.array(place_N2[:, 1], pa.float64()),
        "neighbours": pa.array(near, pa.list_(pa.string())),
        "distances": pa.array(far, pa.list_(pa.float64())),
    }
    extra = {"variance_shares": json.dumps(shares)}
    artifacts.write_table(out, pa.table(columns), made_by, schema=SCHEMA, extra=extra)
    log.info("locate: %d samples, %d of them training; %s", len(samples), int(train_N.sum()), out)


def _who(samples: Samples) -> str:
    """Return a digest of who the samples are and of their splits; labels play no part."""
    said = json.dumps([samples.ids[name].tolist() for name in IDS])
    return hashlib.sha256(said.encode()).hexdigest()


def _spaces(samples: Samples, settings: LocateSettings) -> npt.NDArray[np.int64]:
    """Return in which features each sample lies: pooled samples have those of their modality's encoder, others all."""
    if settings.fusion != "pooled":
        return np.zeros(len(samples), np.int64)
    first_N = np.searchsorted(samples.sample_I, np.arange(len(samples)))
    return np.unique(samples.modality_I[first_N].astype(str), return_inverse=True)[1].astype(np.int64)


def side_by_side(streams: list[streams_of.Stream], count: int) -> npt.NDArray[np.float32]:
    """Return features_NF: standardised streams side by side; one that a sample lacks is at its mean, 0."""
    parts = []
    for stream in streams:
        part_NF = np.zeros((count, stream.features_RVF.shape[2]), np.float32)
        there_N = stream.row_N >= 0
        part_NF[there_N] = stream.features_RVF[stream.row_N[there_N], 0]
        parts.append(part_NF)
    return np.concatenate(parts, axis=1)


def on_map(features_NF: "torch.Tensor", train_N: "torch.Tensor") -> tuple[npt.NDArray[np.float64], list[float]]:
    """Return place_N2 on the first two principal components of the training samples, and their shares of the variance.

    The largest weight of each component is positive: a component's sign is otherwise free.
    """
    import torch

    train_RF = features_NF[train_N]
    torch.manual_seed(0)
    sketch = min(SKETCH, *train_RF.shape)
    _, size_K, axes_FK = torch.pca_lowrank(train_RF, sketch, center=False, niter=PASSES)
    axes_F2 = torch.zeros(features_NF.shape[1], 2)
    axes_F2[:, : min(2, sketch)] = axes_FK[:, :2]
    at_2 = axes_F2.abs().argmax(dim=0)
    signs_2 = torch.sign(axes_F2[at_2, torch.arange(2)])
    total = float(train_RF.double().square().sum())
    shares = [float(size**2) / total for size in size_K[:2].double()] if total else []
    place_N2: Any = (features_NF @ (axes_F2 * signs_2)).double().numpy()
    return place_N2, shares


def neighbours(
    asked_QF: "torch.Tensor",
    train_RF: "torch.Tensor",
    count: int,
    own_Q: "torch.Tensor",
    space_Q: "torch.Tensor",
    space_R: "torch.Tensor",
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return nearest_QK among the training samples and distance_QK: the root mean square over features.

    In standard deviations of a feature: two training samples that have nothing in common are about 1.4 apart. `own_Q`
    is the person of an asked training sample, whose own samples are infinitely far, and -1 of others. So are those of
    another space: features of two encoders cannot be compared.
    """
    import torch

    count = min(count, len(train_RF))
    person_R = own_Q[own_Q >= 0]
    square_R = train_RF.square().sum(dim=1)
    nearest, distance = [torch.zeros(0, count, dtype=torch.int64)], [torch.zeros(0, count)]
    for start in range(0, len(asked_QF), PIECE):
        piece_PF = asked_QF[start : start + PIECE]
        square_PR = piece_PF.square().sum(dim=1)[:, None] + square_R - 2 * piece_PF @ train_RF.T
        square_PR[space_Q[start : start + PIECE, None] != space_R] = torch.inf
        square_PR[own_Q[start : start + PIECE, None] == person_R] = torch.inf
        found = torch.topk(square_PR, count, dim=1, largest=False, sorted=True)
        nearest.append(found.indices)
        distance.append((found.values.clamp(min=0) / train_RF.shape[1]).sqrt())
    return torch.cat(nearest).numpy(), torch.cat(distance).double().numpy()
