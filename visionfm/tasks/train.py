"""Stage `train`: from train.parquet and its rows' cached features to decoder.safetensors and training.parquet.

The table holds training and validation rows only, so nothing of a test split can reach a decoder. Both outputs carry
one key and are recalled together, before torch is imported.
"""

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.errors import DataError, UsageError
from visionfm.features.cache import FeatureStore
from visionfm.images.transforms import VIEWS
from visionfm.tasks import kind_in, kind_of
from visionfm.tasks.maps.settings import DenseTrainSettings
from visionfm.tasks.maps.train import DenseFiles, add_dense_arguments, train_dense
from visionfm.tasks.samples import Samples, read_samples
from visionfm.tasks.settings import FittingSettings, TrainSettings
from visionfm.tasks.vectors import feature_arrays as streams_of
from visionfm.tasks.vectors.feature_arrays import Stream
from visionfm.tasks.vectors.label_efficiency import part_of
from visionfm.tasks.vectors.recipe import HeadRecipe
from visionfm.tasks.vectors.spec import Spec

if TYPE_CHECKING:
    from visionfm.tasks.finetuning.training import Finetuning
    from visionfm.tasks.loop import Loop
    from visionfm.tasks.vectors.objective import Objective
    from visionfm.tasks.vectors.training import Batches

TRAINING_SCHEMA = "visionfm/training/1"
BASELINE_HEADS = {"knn": "knn", "logreg": "linear"}
log = logging.getLogger("visionfm")


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


def store_of(samples: Samples, files: dict[str, list[Path]]) -> FeatureStore:
    """Return the store of those datasets whose images the samples need."""
    needed = dict.fromkeys(dataset for dataset, _, _ in samples.references)
    if missing := [dataset for dataset in needed if dataset not in files]:
        raise UsageError(
            "the features of some datasets are not given",
            expected=f"--features {' '.join(f'{dataset}=FILE' for dataset in missing)}",
            found=", ".join(files),
        )
    return FeatureStore({dataset: files[dataset] for dataset in needed})


def train(
    train_table: Path, files: dict[str, list[Path]], out: Path, training_out: Path, settings: TrainSettings
) -> None:
    """Train one decoder, or fit one baseline; see the module."""
    recipe = settings.recipe
    samples = training_samples(train_table, settings)
    store = store_of(samples, files)
    fusion, visits = _fusion(settings, samples)
    views = VIEWS[:1] if settings.baseline else store.views
    streams = streams_of.gather(samples, store, settings.modalities, fusion, recipe.features, views, visits)
    # How often progress is saved changes nothing; the order of the targets is the order of the outputs.
    slice_ = {**settings.model_dump(mode="json", exclude={"checkpoint_minutes"}), "order": list(settings.targets)}
    inputs = {"train": artifacts.payload_digest(train_table), "features": streams_of.digest(streams)}
    made_by = artifacts.provenance("train", slice_, inputs, settings.seed)
    if artifacts.recall(out, made_by) and artifacts.recall(training_out, made_by):
        return
    _fit(samples, streams, settings, out, training_out, made_by)


def training_samples(train_table: Path, settings: FittingSettings) -> Samples:
    """Return the samples of training (or the part of them that the settings ask for) and validation."""
    samples = _labelled(read_samples(train_table, settings.targets, settings.modalities), train_table)
    return samples.take(part_of(samples, settings.targets, settings.seed, settings.train_fraction, settings.shots))


def _labelled(samples: Samples, where: Path) -> Samples:
    """Return the samples that know some target; raises DataError where a split has none."""
    known = samples.take(np.asarray((~np.isnan(samples.truth_NT)).any(axis=1)))
    for split in ("train", "validation"):
        if not known.in_splits([split]).any():
            raise DataError(
                f"there is no {split} sample with a known target",
                expected="at least one" + (": the best epoch is chosen by it" if split == "validation" else ""),
                found=f"{samples.in_splits([split]).sum()} rows in the split, 0 with a known target",
                where=where,
                do="give the dataset a `split: {validation: 0.15}` by subject, or label some validation images",
            )
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


def _parts(streams: list[Stream], keep_N: Any) -> list[Stream]:
    """Return the streams of some of the samples, with only their rows."""
    found = []
    for stream in streams:
        row_N = stream.row_N[keep_N]
        used = row_N[row_N >= 0]
        at_N = np.where(row_N >= 0, np.cumsum(row_N >= 0) - 1, -1)
        found.append(Stream(stream.name, stream.features_RVF[used], stream.modality_R[used], at_N))
    return found


def _fit(
    samples: Samples,
    streams: list[Stream],
    settings: TrainSettings,
    out: Path,
    training_out: Path,
    made_by: artifacts.Provenance,
) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on a GPU
    import torch

    from visionfm.runtime.interruption import stop_on_signal
    from visionfm.runtime.randomness import derived_seed
    from visionfm.tasks.resume import StateFile
    from visionfm.tasks.vectors import decoder as decoders
    from visionfm.tasks.vectors.training import Batches, Training, outputs_of, reproducible

    check_device(settings.device)
    recipe = settings.recipe
    splits = {split: samples.in_splits([split]) for split in ("train", "validation")}
    parts = {split: _parts(streams, keep_N) for split, keep_N in splits.items()}
    fusion, visits = _fusion(settings, samples)
    first = parts["train"][: len(parts["train"]) // visits]  # without those of earlier visits
    for stream in first:
        if not len(stream.features_RVF):
            raise DataError(
                f"no training sample has an image of {stream.name}",
                expected=f"training images of each modality: {', '.join(settings.modalities)}",
                do="leave the modality out of the model, or label images of it",
            )
    truth_NT = samples.truth_NT[splits["train"]]
    known = streams_of.statistics(first, identity=not (recipe.standardise or settings.baseline), scale=recipe.scale)
    widths = [stream.features_RVF.shape[2] for stream in first]
    of_baselines = getattr(kind_of(settings.kind).fit(), "BASELINE_HEADS", BASELINE_HEADS)
    head = of_baselines[settings.baseline] if settings.baseline else recipe.head
    modalities = settings.modalities
    spec = Spec(settings.kind, settings.targets, modalities, fusion, head, recipe.features, widths, visits)
    times = streams_of.times(samples, fusion, recipe.head, len(modalities), visits)
    batches = {}
    for split, part in parts.items():
        streams_of.standardise(part, known)
        times_NX = None if times is None else times[splits[split]]
        truth = samples.truth_NT[splits[split]]
        batches[split] = Batches.of(part, widths * visits, truth, settings.device, times_NX, visits)
    extra = {
        **spec.metadata(),
        "recipe": settings.baseline or settings.recipe_name,
        "n_train": str(len(batches["train"])),
        "n_validation": str(len(batches["validation"])),
    }
    people = len(set(samples.ids["subject_id"][splits["train"]]))
    sizes = {"n_train": len(batches["train"]), "n_train_subjects": people}
    if settings.baseline:
        _fit_baseline(settings, spec, batches, known, (out, training_out), made_by, extra, sizes)
        return
    objective = objective_of(settings, recipe, truth_NT)
    with reproducible(recipe.threads), stop_on_signal() as stop:
        torch.manual_seed(derived_seed(settings.seed, "start"))
        network = decoders.Decoder(spec).to(settings.device)
        training = Training(network, batches["train"], batches["validation"], objective, recipe, settings.seed)
        file = StateFile(out, made_by)
        if (state := file.load(settings.device)) is not None:
            training.restore(state)
            log.info("train: goes on after epoch %d", state.epochs)
        training.run(stop, file, settings.checkpoint_minutes)

        def outputs() -> torch.Tensor:
            network.load_state_dict(training.best)
            return outputs_of(network, batches["train"])

        objective.finish(outputs, batches["train"].truth_NT)
    extra["best_epoch"] = str(training.best_epoch)
    artifacts.write_table(training_out, training_table(training, sizes), made_by, schema=TRAINING_SCHEMA)
    tensors = decoders.file_tensors(training.best, objective, known)
    artifacts.write_tensors(out, tensors, made_by, schema=spec.SCHEMA, extra=extra)
    file.remove()
    row = training.history[training.best_epoch - 1]
    log.info(
        "train: %s training and %s validation samples, best epoch %s of %d, validation loss %.4g; %s",
        *(extra["n_train"], extra["n_validation"], extra["best_epoch"]),
        *(len(training.history), row["validation_loss"], out),
    )


def objective_of(settings: FittingSettings, recipe: HeadRecipe, truth_NT: Any) -> "Objective":
    """Return the targets' losses and predictions, as the labels of the training samples make them."""
    made: Objective = kind_of(settings.kind).fit().make(settings, recipe, truth_NT)
    return made


def check_device(device: str) -> None:
    """Raise UsageError where a GPU is asked for and there is none."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no GPU", expected="CUDA", found="none", do="set `device: cpu`")


def _fit_baseline(
    settings: TrainSettings,
    spec: Spec,
    batches: "dict[str, Batches]",
    known: streams_of.Statistics,
    outs: tuple[Path, Path],
    made_by: artifacts.Provenance,
    extra: dict[str, str],
    sizes: dict[str, int],
) -> None:
    import pyarrow as pa
    import torch

    from visionfm.tasks.vectors import baselines
    from visionfm.tasks.vectors import decoder as decoders
    from visionfm.tasks.vectors.training import reproducible

    with reproducible():
        torch.manual_seed(0)
        network = decoders.Decoder(spec).eval()
        balanced = settings.recipe.class_weighting == "balanced"
        rows = baselines.fit(settings.baseline or "", network, batches["train"], batches["validation"], balanced)
    objective = objective_of(settings, settings.recipe, batches["train"].truth_NT.double().numpy())
    text, number = pa.string(), pa.float64()
    types = {"target": text, "class": text, "parameter": text, "value": number, "validation_loss": number}
    types |= {"best": pa.bool_()}
    columns = {name: pa.array([row[name] for row in rows], type_) for name, type_ in types.items()}
    artifacts.write_table(outs[1], pa.table(columns | _sizes(sizes, len(rows))), made_by, schema=TRAINING_SCHEMA)
    tensors = decoders.file_tensors(network.state_dict(), objective, known)
    artifacts.write_tensors(outs[0], tensors, made_by, schema=spec.SCHEMA, extra=extra)
    chosen = ", ".join(dict.fromkeys(f"{row['parameter']} = {row['value']:g}" for row in rows if row["best"]))
    log.info(
        "train: %s on %s training samples; chosen on %s validation samples: %s; %s",
        *(settings.baseline, extra["n_train"], extra["n_validation"], chosen, outs[0]),
    )


def training_table(training: "Loop | Finetuning", sizes: dict[str, int]) -> Any:
    """Return a training's epochs, a row each, with the same sizes in all."""
    import pyarrow as pa

    rows = [{**row, "best": row["epoch"] == training.best_epoch} for row in training.history]
    types = {"epoch": pa.int32(), "best": pa.bool_()}
    columns = {name: pa.array([row[name] for row in rows], types.get(name, pa.float64())) for name in rows[0]}
    return pa.table(columns | _sizes(sizes, len(rows)))


def _sizes(sizes: dict[str, int], rows: int) -> dict[str, Any]:
    import pyarrow as pa

    return {name: pa.array([value] * rows, pa.int64()) for name, value in sizes.items()}
