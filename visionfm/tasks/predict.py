"""Stage `predict`: applies a decoder to samples, writes predictions.parquet, a row per sample, target (class), subset.

Fused tasks are scored with all modalities, each alone, and each left out (`subset`), where a sample has at least one of
them. Class scores are probabilities, values are in the target's unit. Shapes: N samples, S streams, K outputs.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.errors import ArtifactError, DataError, UsageError
from visionfm.features.cache import FEATURES, FeatureStore
from visionfm.images.transforms import VIEWS
from visionfm.runtime.reproducible import check_device, reproducible
from visionfm.tasks import encodings, kind_in
from visionfm.tasks.decoder_file import digest_of, is_own
from visionfm.tasks.maps import any_images as dense_main
from visionfm.tasks.maps.train import add_dense_arguments
from visionfm.tasks.package import applying
from visionfm.tasks.samples import Samples, check_some, read_samples
from visionfm.tasks.settings import PredictSettings, TargetSpec
from visionfm.tasks.slots import targets_to_json
from visionfm.tasks.train import store_of
from visionfm.tasks.vectors import feature_arrays as streams_of
from visionfm.tasks.vectors.spec import TOKENS, Spec

if TYPE_CHECKING:
    from visionfm.tasks.vectors.decoder import Decoder, Loaded
    from visionfm.tasks.vectors.objective import Prediction
    from visionfm.tasks.vectors.training import Batches

SCHEMA = "visionfm/predictions/1"
ALL = "all"
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--decoder", type=Path, help="decoder.safetensors, or a published .pth")
    parser.add_argument("--samples", type=Path, help="samples.parquet; without it every image of --features is scored")
    parser.add_argument("--features", nargs="+", metavar="DATASET=FILE", help="feature caches")
    parser.add_argument("--out", required=True, type=Path, help="predictions.parquet; without --settings also .csv")
    parser.add_argument("--classes", nargs="+", help="names of a published decoder's classes, in their order")
    add_dense_arguments(parser)
    dense_main.add_arguments(parser)
    applying.add_arguments(parser)


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    if args.model is not None:
        applying.main(args)
        return
    if args.decoder is None or args.photos:
        raise UsageError("nothing says what answers", expected="--decoder FILE, or --model FILE and photos")
    if args.settings is None:
        from visionfm.tasks.vectors.any_images import predict_images

        if args.features is None or args.samples is not None:
            raise UsageError(
                "without --settings every image of some caches is scored",
                expected="--features NAME=CACHE, no --samples",
            )
        predict_images(args.decoder, by_dataset(args.features), args.out, args.classes)
        return
    kind = kind_in(args.settings)
    if kind is not None and kind.family == "maps":
        dense_main.main(args)
        return
    settings = PredictSettings.model_validate_json(args.settings)
    if args.samples is None or args.features is None:
        raise UsageError("the samples or their features are not given", expected="--samples FILE --features NAME=FILE")
    predict(args.decoder, args.samples, by_dataset(args.features), args.out, settings)


def predict(
    decoder: Path, samples_table: Path, files: dict[str, list[Path]], out: Path, settings: PredictSettings
) -> None:
    """Score the samples of the settings' splits; see the module."""
    spec = Spec.read(decoder) if is_own(decoder) else _published_spec(decoder, settings)
    if is_own(decoder):
        _check_task(decoder, spec, settings)
    targets = spec.targets
    samples = read_samples(samples_table, targets, settings.modalities)
    samples = samples.take(samples.in_splits(settings.splits))
    check_some(len(samples), settings.splits, samples_table)
    store = store_of(samples, files, spec.features == TOKENS)
    features = features_read(spec, store)
    encodings.check(decoder, encodings.of_vectors(samples, store))
    views = VIEWS if settings.tta == "flips" else VIEWS[:1]
    # Each modality has its place in a fused decoder: that of its training, in whatever order a config names datasets.
    streams = streams_of.gather(samples, store, spec.modalities, spec.fusion, features, views, spec.visits, spec.slices)
    del store  # the caches hold many more rows
    inputs = {
        "decoder": digest_of(decoder),
        "samples": artifacts.payload_digest(samples_table),
        "features": streams_of.digest(streams),
    }
    made_by = artifacts.provenance("predict", settings.model_dump(mode="json"), inputs)
    if artifacts.recall(out, made_by):
        return
    from visionfm.tasks.vectors.decoder import load_decoder

    table = scored(samples, streams, load_decoder(decoder, settings), settings)
    extra = {"targets": targets_to_json(targets), "task": settings.task, "model": settings.model}
    artifacts.write_table(out, table, made_by, schema=SCHEMA, extra=extra)
    log.info("predict: %d samples, %d rows; %s", len(samples), len(table), out)


def _check_task(decoder: Path, spec: Spec, settings: PredictSettings) -> None:
    """Raise ArtifactError unless a decoder of this project answers what the settings ask, of such samples."""
    pooled = spec.fusion == "pooled"
    pairs = {
        "kind of task": (spec.kind, settings.kind),
        "targets": (_asked(spec.targets), _asked(settings.targets)),
        # Pooled, an image is a sample, and its own modality is checked; fused, each modality has its place.
        "modalities": (sorted(spec.modalities), sorted(spec.modalities if pooled else settings.modalities)),
        "samples": (_units(spec.fusion), _units(settings.fusion)),
    }
    for what, (known, wanted) in pairs.items():
        if known != wanted:
            raise ArtifactError(
                f"{decoder.name} is for another task: its {what} are not those of {settings.task}",
                expected=known,
                found=wanted,
                where=decoder,
                do="write the task as the decoder was trained, classes in their order, or name another decoder",
            )


def _units(fusion: str) -> str:
    return "single images" if fusion == "pooled" else "images joined by eye, visit or subject"


def _asked(targets: Mapping[str, TargetSpec]) -> dict[str, Any]:
    return {name: target.model_dump(mode="json", exclude={"weight"}) for name, target in targets.items()}


def _published_spec(decoder: Path, settings: PredictSettings) -> Spec:
    from visionfm.tasks.vectors.decoder import load_decoder

    return load_decoder(decoder, settings).spec


def features_read(spec: Spec, store: FeatureStore) -> str:
    """Return which features a decoder reads; DataError where a published one's do not have the width that it needs."""
    if spec.features is None:
        return features_of_width(spec.widths[0], store)
    if spec.fusion == "pooled" and (found := store.width(spec.features)) != spec.widths[0]:
        raise DataError(
            "the features do not fit the decoder",
            expected=f"{spec.features} of {spec.widths[0]} numbers",
            found=f"{found}",
            do="extract with the encoder that the decoder was trained on; a fine-tuned file is both of them",
        )
    return spec.features


def features_of_width(width: int, store: FeatureStore) -> str:
    """Return which features a published decoder eats: its file does not say, its width does."""
    widths = {name: store.width(name) for name in FEATURES}
    for name, found in widths.items():
        if found == width:
            return name
    raise DataError(
        "the features do not fit the decoder",
        expected=f"{width} a view",
        found=", ".join(f"{name}: {found}" for name, found in widths.items()),
        do="extract with an encoder of the width that the decoder was trained on",
    )


# --- scoring --------------------------------------------------------------------------------------------------------


def subsets(modalities: list[str], fusion: str) -> dict[str, list[str]]:
    """Return subset name -> its modalities: all, each alone, each left out; pooled samples have one modality anyway."""
    found = {ALL: modalities}
    if fusion == "pooled" or len(modalities) < 2:
        return found
    found.update({name: [name] for name in modalities})
    for left_out in modalities:
        rest = [name for name in modalities if name != left_out]
        found.setdefault("+".join(rest), rest)
    return found


def scored(samples: Samples, streams: list[streams_of.Stream], loaded: "Loaded", settings: PredictSettings) -> Any:
    """Return the predictions of samples as a table, its columns COLUMNS."""
    import pyarrow as pa
    import torch

    from visionfm.tasks.vectors.training import Batches, outputs_of

    check_device(settings.device)
    spec = loaded.spec
    streams_of.standardise(streams, loaded.standardisation)
    times_NX = streams_of.times(samples, spec.fusion, spec.head, len(spec.modalities), spec.visits)
    batches = Batches.of(streams, spec.widths * spec.visits, samples.truth_NT, settings.device, times_NX)
    network = loaded.network.to(settings.device)
    views = range(streams[0].features_RVF.shape[1])
    tables = []
    with reproducible():
        relevance = _slices(samples, network, batches, views) if network.slices is not None else None
        for subset, members in subsets(spec.modalities, spec.fusion).items():
            present_NS = batches.present_NS
            if subset != ALL:
                wanted = torch.tensor([stream.name in members for stream in streams], device=settings.device)
                present_NS = present_NS & wanted
            keep_N = present_NS.any(dim=1).cpu().numpy()
            if not keep_N.any():
                continue
            by_view = [loaded.objective.predict(outputs_of(network, batches, present_NS, view)) for view in views]
            used_N = _modalities_used(samples, spec.fusion, spec.modalities, present_NS.cpu().numpy())
            for prediction in averaged(by_view):
                _check_finite(prediction.values, keep_N, samples)
                columns = _columns(samples, prediction, keep_N, {"subset": subset, "run": settings.run}, loaded)
                columns["modalities"] = pa.array(used_N[keep_N].tolist(), pa.string())
                if relevance is not None:
                    # A modality's weights do not depend on which others are there: they are said once.
                    shown = relevance.filter(pa.array(keep_N))
                    columns["slices"] = shown if subset == ALL else pa.nulls(len(shown), shown.type)
                tables.append(pa.table(columns).select([*COLUMNS, *(name for name in MORE if name in columns)]))
    return pa.concat_tables(tables)


def averaged(by_view: "Sequence[Sequence[Prediction]]") -> "Iterator[Prediction]":
    """Yield each question's prediction, the mean over the views of the images."""
    for same in zip(*by_view, strict=True):
        yield same[0]._replace(values=np.mean([prediction.values for prediction in same], axis=0))


COLUMNS = (
    *("sample_id", "subject_id", "dataset", "modalities", "subset", "split", "run", "target", "class"),
    *("truth", "scores", "value", "unit"),
)
MORE = ("interval_days", "uncalibrated", "slices")  # where there is such a thing


def _slices(samples: Samples, network: "Decoder", batches: "Batches", views: range) -> Any:
    """Return each sample's images with their weights, the mean over the views; a modality's add up to 1."""
    import pyarrow as pa

    from visionfm.tasks.vectors.training import slice_weights

    by_view = [[weight.double().cpu().numpy() for weight in slice_weights(network, batches, view)] for view in views]
    weight_I = np.zeros(len(samples.references))
    for s, name in enumerate(network.spec.modalities):
        weight_I[samples.modality_I == name] = np.mean([weights[s] for weights in by_view], axis=0)
    image_ids = pa.array([image_id for _, _, image_id in samples.references], pa.string())
    of_images = pa.StructArray.from_arrays([image_ids, pa.array(weight_I)], ["image_id", "weight"])
    ends = np.searchsorted(samples.sample_I, np.arange(len(samples) + 1))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), of_images)


def _modalities_used(
    samples: Samples, fusion: str, modalities: list[str], present_NS: npt.NDArray[np.bool_]
) -> npt.NDArray[Any]:
    if fusion == "pooled":
        return samples.modality_I
    # Of a modality seen at several visits, one is enough.
    seen_NM = np.asarray(present_NS.reshape(len(present_NS), -1, len(modalities)).any(axis=1))
    patterns, which_N = np.unique(seen_NM, axis=0, return_inverse=True)
    names = ["+".join(name for name, there in zip(modalities, row, strict=True) if there) for row in patterns]
    return np.array(names, dtype=object)[which_N.reshape(-1)]


def _check_finite(values_NK: npt.NDArray[np.float64], keep_N: npt.NDArray[np.bool_], samples: Samples) -> None:
    wrong_N = ~np.isfinite(values_NK).all(axis=1) & keep_N
    if wrong_N.any():
        raise DataError(
            "a prediction is not a finite number",
            expected="finite outputs",
            found="NaN or infinity",
            where=f"sample {samples.ids['sample_id'][np.flatnonzero(wrong_N)[0]]}",
            do="look at the decoder's weights (`visionfm verify`), or train it again",
        )


def _columns(
    samples: Samples,
    prediction: "Prediction",
    keep_N: npt.NDArray[np.bool_],
    same: dict[str, str],
    loaded: "Loaded",
) -> dict[str, Any]:
    """Return the rows of one target (class) as columns."""
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), int(keep_N.sum())
    target = prediction.slot.target
    columns = {name: pa.array(values[keep_N].tolist(), text) for name, values in samples.ids.items()}
    constants = {**same, "target": prediction.slot.name, "class": prediction.class_name, "unit": target.unit}
    columns.update({name: pa.array([value] * count, text) for name, value in constants.items()})
    columns["truth"] = pa.array(samples.truth_NT[keep_N, prediction.label], number, from_pandas=True)
    if loaded.calibrator is not None:
        before_NK = prediction.values[keep_N, prediction.numbers :]
        columns["uncalibrated"] = pa.array(list(before_NK), pa.list_(number))
        prediction = loaded.calibrated(prediction)
    rows = prediction.values[keep_N]
    if samples.interval_N is not None:
        columns["interval_days"] = pa.array(samples.interval_N[keep_N], number, from_pandas=True)
    scores = rows[:, prediction.numbers :]
    columns["scores"] = (
        pa.array(list(scores), pa.list_(number)) if scores.shape[1] else pa.nulls(count, pa.list_(number))
    )
    columns["value"] = pa.array(rows[:, 0], number) if prediction.numbers else pa.nulls(count, number)
    return columns
