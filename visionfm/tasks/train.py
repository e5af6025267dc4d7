"""Stage `train`: from train.parquet and its rows' cached features to decoder.safetensors and training.parquet.

The table holds training and validation rows only, so nothing of a test split can reach a decoder. Both outputs carry
one key and are recalled together, before torch is imported.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset, check_given
from visionfm.errors import DataError
from visionfm.features import cache, token_cache
from visionfm.images.transforms import VIEWS
from visionfm.runtime.reproducible import check_device, reproducible
from visionfm.tasks import encodings, kind_in, kind_of
from visionfm.tasks.fitting import Fitted, check_splits, fit_decoder
from visionfm.tasks.maps.settings import DenseTrainSettings
from visionfm.tasks.maps.train import DenseFiles, add_dense_arguments, train_dense
from visionfm.tasks.samples import Samples, read_samples
from visionfm.tasks.settings import TrainSettings, VectorFitSettings
from visionfm.tasks.vectors import feature_arrays as streams_of
from visionfm.tasks.vectors.candidates import chosen
from visionfm.tasks.vectors.feature_arrays import Stream
from visionfm.tasks.vectors.label_efficiency import part_of
from visionfm.tasks.vectors.recipe import HeadRecipe
from visionfm.tasks.vectors.spec import NAMED, TOKENS, Spec

if TYPE_CHECKING:
    import torch

    from visionfm.tasks.resume import StateFile
    from visionfm.tasks.vectors.decoder import Decoder
    from visionfm.tasks.vectors.objective import Objective
    from visionfm.tasks.vectors.training import Batches

BASELINE_HEADS = {"knn": "knn", "logreg": "linear"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--train", required=True, type=Path, help="train.parquet")
    parser.add_argument("--features", required=True, nargs="+", metavar="DATASET=FILE", help="feature caches")
    parser.add_argument("--out", required=True, type=Path, help="decoder.safetensors")
    parser.add_argument("--training-out", required=True, type=Path, help="training.parquet: one row per epoch")
    add_dense_arguments(parser)


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    kind = kind_in(args.settings)
    if kind is not None and kind.family == "maps":
        dense = DenseTrainSettings.model_validate_json(args.settings)
        files = DenseFiles(args.features, args.encoders, args.roots)
        train_dense(args.train, files, args.out, args.training_out, dense)
        return
    settings = TrainSettings.model_validate_json(args.settings)
    train(args.train, by_dataset(args.features), args.out, args.training_out, settings)


def store_of(samples: Samples, files: dict[str, list[Path]], tokens: bool = False, as_stored: bool = False) -> Any:
    """Return the store of those datasets whose images the samples need: of vectors, or of patch `tokens`.

    Where the files of a dataset are caches of both, each store takes its own. Vectors `as_stored` stay on the disk, and
    come out in the type of their files.
    """
    needed = dict.fromkeys(dataset for dataset, _, _ in samples.references)
    check_given("--features", needed, files)
    schema = token_cache.SCHEMA if tokens else cache.SCHEMA
    own = {dataset: [path for path in files[dataset] if _schema(path) == schema] for dataset in needed}
    chosen_files = {dataset: own[dataset] or files[dataset] for dataset in needed}
    if tokens:
        return token_cache.TokenStore(chosen_files)
    return cache.FeatureStore(chosen_files, cache.map_cache if as_stored else cache.read_cache, as_stored)


def _schema(path: Path) -> str | None:
    return artifacts.read_metadata(path, verify=False).get("schema")


def train(
    train_table: Path, files: dict[str, list[Path]], out: Path, training_out: Path, settings: TrainSettings
) -> None:
    """Train one decoder, or the candidates of which validation chooses one, or fit one baseline; see the module."""
    samples = training_samples(train_table, settings)
    ways, held, read = settings.ways(), {}, []
    for name, way in ways.items():
        gathered = _gathered(samples, files, way)
        read.append((streams_of.digest(gathered.streams), gathered.origin[encodings.NAME]))
        if len(ways) == 1:  # those of several candidates would not fit into memory together
            held[name] = gathered
    digests, origins = zip(*read, strict=True)
    inputs = {
        "train": artifacts.payload_digest(train_table),
        "features": digests[0] if len(ways) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
        "encodings": hashlib.sha256("".join(origins).encode()).hexdigest(),
    }
    caches = _caches(samples, files, out)
    if settings.baseline == "knn":  # whose file names them
        inputs["caches"] = hashlib.sha256(json.dumps(caches).encode()).hexdigest()

    def fit(file: "StateFile") -> Fitted:
        fitted = {}
        for name, way in ways.items():
            found = held.pop(name, None) or _gathered(samples, files, way)
            fitted[name] = _fit(samples, found, way, file.of(name), caches, compared=len(ways) > 1)
        return chosen(fitted) if len(fitted) > 1 else fitted.popitem()[1]

    fit_decoder("train", settings, inputs, out, training_out, fit)


class Gathered(NamedTuple):
    """The samples' features, how they were encoded, and of patch tokens levels, patches and width."""

    streams: list[Stream]
    origin: dict[str, str]
    shape_LPD: list[int]


def _gathered(samples: Samples, files: dict[str, list[Path]], settings: TrainSettings) -> Gathered:
    """Return what a candidate reads; the caches, which hold many more, are let go of."""
    fusion, visits = _fusion(settings, samples)
    tokens = settings.recipe.features == TOKENS
    store = store_of(samples, files, tokens, as_stored=not settings.baseline)  # baselines compute on all rows at once
    views = VIEWS[:1] if settings.baseline else store.views
    streams = streams_of.gather(
        samples, store, settings.modalities, fusion, settings.recipe.features, views, visits, settings.pooling
    )
    origin = encodings.origin(encodings.of_vectors(samples, store), views)
    return Gathered(streams, origin, list(store.shape_LPD) if tokens else [])


def _caches(samples: Samples, files: dict[str, list[Path]], out: Path) -> dict[str, list[str]]:
    """Return the caches of the samples' datasets as a decoder names them: seen from its folder, so that a results
    folder can be moved.
    """
    datasets = sorted({dataset for dataset, _, _ in samples.references})
    folder = out.absolute().parent
    return {
        dataset: [Path(os.path.relpath(path, folder)).as_posix() for path in files[dataset]] for dataset in datasets
    }


def training_samples(train_table: Path, settings: VectorFitSettings) -> Samples:
    """Return the samples of training (or the part of them that the settings ask for) and validation."""
    samples = _labelled(read_samples(train_table, settings.targets, settings.modalities), train_table)
    return samples.take(part_of(samples, settings.targets, settings.seed, settings.train_fraction, settings.shots))


def _labelled(samples: Samples, where: Path) -> Samples:
    """Return the samples that know some target; raises DataError where a split has none."""
    known = samples.take(np.asarray((~np.isnan(samples.truth_NT)).any(axis=1)))
    rows = {split: int(samples.in_splits([split]).sum()) for split in ("train", "validation")}
    counts = {split: int(known.in_splits([split]).sum()) for split in rows}
    found = {split: f"{count} rows in the split, 0 with a known target" for split, count in rows.items()}
    check_splits(counts, "sample with a known target", found, where)
    return known


def _fusion(settings: TrainSettings, samples: Samples) -> tuple[str, int]:
    """Return how a sample's images are joined, and in progression of eyes: over how many visits, as far as they go.

    Baselines have nothing that could learn it: they see modalities side by side.
    """
    if settings.baseline and settings.fusion != "pooled":
        return "concat", 1
    if settings.visits is None or settings.fusion == "pooled":
        return settings.fusion, 1
    return streams_of.VISITS, min(settings.visits, 1 + int(streams_of.visit_of_images(samples).max()))


def _fit(
    samples: Samples,
    gathered: Gathered,
    settings: TrainSettings,
    file: "StateFile",
    caches: Mapping[str, Sequence[str]],
    compared: bool,
) -> Fitted:
    """Fit one decoder; `compared`: it is one of several candidates."""
    from visionfm.tasks.loop import trained
    from visionfm.tasks.vectors import decoder as decoders
    from visionfm.tasks.vectors.heads import KnnHead
    from visionfm.tasks.vectors.neighbours import Neighbours
    from visionfm.tasks.vectors.training import Batches, Training, outputs_of

    check_device(settings.device)
    streams, origin, shape_LPD = gathered
    recipe = settings.recipe
    splits = {split: samples.in_splits([split]) for split in ("train", "validation")}
    parts = {split: [stream.of(keep_N) for stream in streams] for split, keep_N in splits.items()}
    fusion, visits = _fusion(settings, samples)
    first = parts["train"][: len(parts["train"]) // visits]  # without those of earlier visits
    _check_seen(first, settings.modalities)
    truth_NT = samples.truth_NT[splits["train"]]
    known = streams_of.statistics(first, identity=not (recipe.standardise or settings.baseline), scale=recipe.scale)
    widths = [stream.features_RVF.shape[2] for stream in first]
    of_baselines = getattr(kind_of(settings.kind).fit(), "BASELINE_HEADS", BASELINE_HEADS)
    head = of_baselines[settings.baseline] if settings.baseline else recipe.head
    modalities = settings.modalities
    spec = Spec(
        settings.kind, settings.targets, modalities, fusion, head, recipe.features, widths, visits, shape_LPD,
        settings.pooling,
    )  # fmt: skip
    times = streams_of.times(samples, fusion, recipe.head, len(modalities), visits)
    stored = {n: stream for n, stream in enumerate(streams) if stream.features_RVF.dtype != np.float32}
    streams_of.standardise([stream for n, stream in enumerate(streams) if n not in stored], known)
    scalings = {n: streams_of.scaling(stream, known) for n, stream in stored.items()}

    def batch(split: str, same: Batches | None = None) -> Batches:
        times_NX = None if times is None else times[splits[split]]
        truth = samples.truth_NT[splits[split]]
        return Batches.of(parts[split], widths * visits, truth, settings.device, times_NX, visits, same, scalings)

    batches = {"train": batch("train")}
    batches["validation"] = batch("validation", batches["train"])
    stored.clear()
    for held in (streams, first, *parts.values()):  # the batches alone hold the rows, and may let them go
        held.clear()
    counts = (len(batches["train"]), len(batches["validation"]), len(set(samples.ids["subject_id"][splits["train"]])))
    objective = objective_of(settings, recipe, truth_NT)
    if settings.baseline:
        kept = [replace(batches["validation"], streams=list(batches["validation"].streams))] if compared else []
        network, rows = _fit_baseline(settings.baseline, spec, batches, recipe.class_weighting == "balanced")
        parameters = ", ".join(dict.fromkeys(f"{row['parameter']} = {row['value']:g}" for row in rows if row["best"]))
        tensors = decoders.file_tensors(network.state_dict(), objective, known)
        if isinstance(head := network.head, KnnHead):
            tensors[NAMED] = Neighbours.of(samples.take(splits["train"]), caches, head.rows_NF).tensor()
        made = Fitted(spec, tensors, rows, *counts, f"{settings.baseline}: {parameters}", origin=origin)
        for validation in kept:
            loss, _ = objective.score(outputs_of(network, validation), validation.truth_NT)
            made = made._replace(validation_loss=loss)
        return made

    def start() -> Training:
        network = decoders.Decoder(spec).to(settings.device)
        return Training(network, batches["train"], batches["validation"], objective, recipe, settings.seed)

    with trained(start, settings, recipe.threads, file) as run:

        def outputs() -> "torch.Tensor":
            run.network.load_state_dict(run.best)
            return outputs_of(run.network, batches["train"])

        objective.finish(outputs, batches["train"].truth_NT)
        if compared:
            file.save(run.state())  # a stop while the next one is trained loses nothing of this one
    tensors = decoders.file_tensors(run.best, objective, known)
    loss = run.history[run.best_epoch - 1]["validation_loss"]
    return Fitted.by(run, spec, tensors, counts, f"validation loss {loss:.4g}")._replace(origin=origin)


def _check_seen(streams: list[Stream], modalities: list[str]) -> None:
    for stream in streams:
        if not len(stream.used_R):
            raise DataError(
                f"no training sample has an image of {stream.name}",
                expected=f"training images of each modality: {', '.join(modalities)}",
                do="leave the modality out of the model, or label images of it",
            )


def objective_of(settings: VectorFitSettings, recipe: HeadRecipe, truth_NT: Any) -> "Objective":
    """Return the targets' losses and predictions, as the labels of the training samples make them."""
    made: Objective = kind_of(settings.kind).fit().make(settings, recipe, truth_NT)
    return made


def _fit_baseline(
    baseline: str, spec: Spec, batches: "dict[str, Batches]", balanced: bool
) -> "tuple[Decoder, list[dict[str, Any]]]":
    """Return the network, and a row for each value that was tried."""
    import torch

    from visionfm.tasks.vectors import baselines
    from visionfm.tasks.vectors import decoder as decoders

    with reproducible():
        torch.manual_seed(0)
        network = decoders.Decoder(spec).eval()
        rows = baselines.fit(baseline, network, batches["train"], batches["validation"], balanced)
    return network, rows
