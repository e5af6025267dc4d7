"""Stage `calibrate`: a decoder, its validation samples -> calibrated.safetensors: the decoder with calibrated answers.

The table holds training and validation rows only, so that nothing of a test split can reach a map. The decoder itself
is not trained again: its tensors are copied, and the maps of vectors/calibration.py stand beside them.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset
from visionfm.images.transforms import VIEWS
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks import encodings
from visionfm.tasks.decoder_file import digest_of
from visionfm.tasks.handover import FROM_ITS_RUN
from visionfm.tasks.predict import averaged
from visionfm.tasks.samples import Samples, check_some, read_samples
from visionfm.tasks.settings import CalibrateSettings
from visionfm.tasks.train import store_of
from visionfm.tasks.vectors import feature_arrays as streams_of
from visionfm.tasks.vectors.spec import TOKENS, Spec

if TYPE_CHECKING:
    from visionfm.tasks.vectors.decoder import Loaded

SPLIT = "validation"
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--decoder", required=True, type=Path, help="decoder.safetensors")
    parser.add_argument("--train", required=True, type=Path, help="train.parquet")
    parser.add_argument("--features", required=True, nargs="+", metavar="DATASET=FILE", help="feature caches")
    parser.add_argument("--out", required=True, type=Path, help="calibrated.safetensors")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = CalibrateSettings.model_validate_json(args.settings)
    calibrate(args.decoder, args.train, by_dataset(args.features), args.out, settings)


def calibrate(
    decoder: Path, train_table: Path, files: dict[str, list[Path]], out: Path, settings: CalibrateSettings
) -> None:
    """Fit the maps to the validation samples; see the module."""
    spec = Spec.read(decoder)
    samples = read_samples(train_table, spec.targets, settings.modalities)
    samples = samples.take(samples.in_splits([SPLIT]))
    check_some(len(samples), [SPLIT], train_table)
    store = store_of(samples, files, spec.features == TOKENS)
    encodings.check(decoder, encodings.of_vectors(samples, store))
    views = VIEWS if settings.tta == "flips" else VIEWS[:1]
    streams = streams_of.gather(
        samples, store, spec.modalities, spec.fusion, str(spec.features), views, spec.visits, spec.slices
    )
    inputs = {
        "decoder": digest_of(decoder),
        "train": artifacts.payload_digest(train_table),
        "features": streams_of.digest(streams),
    }
    made_by = artifacts.provenance("calibrate", settings.model_dump(mode="json"), inputs)
    if artifacts.recall(out, made_by):
        return
    from visionfm.tasks.vectors.decoder import load_own

    maps = _maps(samples, streams, load_own(decoder), settings.method)
    _, tensors = Spec.load(decoder)
    metadata = artifacts.read_metadata(decoder)
    extra = {name: metadata[name] for name in FROM_ITS_RUN if name in metadata}
    extra |= replace(spec, calibrate=settings.method).metadata()
    artifacts.write_tensors(out, {**tensors, **maps}, made_by, schema=Spec.SCHEMA, extra=extra)
    log.info("calibrate: %s on %d validation samples; %s", settings.method, len(samples), out)


def _maps(samples: Samples, streams: list[streams_of.Stream], loaded: "Loaded", method: str) -> dict[str, Any]:
    """Return the tensors of all questions' maps."""
    from visionfm.tasks.vectors.calibration import fitted
    from visionfm.tasks.vectors.training import Batches, outputs_of

    spec = loaded.spec
    streams_of.standardise(streams, loaded.standardisation)
    times_NX = streams_of.times(samples, spec.fusion, spec.head, len(spec.modalities), spec.visits)
    batches = Batches.of(streams, spec.widths * spec.visits, samples.truth_NT, "cpu", times_NX)
    views = range(streams[0].features_RVF.shape[1])
    with reproducible():
        by_view = [loaded.objective.predict(outputs_of(loaded.network, batches, view=view)) for view in views]
    maps: dict[str, Any] = {}
    for one in averaged(by_view):
        truth_N = np.asarray(samples.truth_NT[:, one.label], dtype=np.float64)
        maps |= fitted(method, one.slot, one.class_name, one.values[:, one.numbers :], truth_N)
    return maps
