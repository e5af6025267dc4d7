"""Stage `train` for dense tasks: from train.parquet, images, masks or points, and patch tokens to a dense decoder.

Tokens come from the cache; where it says `streamed`, and under richer augmentation or tiles, the encoder runs in the
loop. A decoder's key does not depend on which of the two it was: on a CPU they give the same bits.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from visionfm.artifacts.arguments import by_dataset, check_given
from visionfm.data.columns import DenseSample, read_dense_samples
from visionfm.encoders.file import read_encoder_file
from visionfm.features.token_cache import DenseStore
from visionfm.features.tokens import identity_of
from visionfm.runtime.reproducible import check_device
from visionfm.tasks import encodings, kind_of
from visionfm.tasks.decoder_file import arrays_of
from visionfm.tasks.fitting import Fitted, check_splits, fit_decoder
from visionfm.tasks.maps.settings import DensePredictSettings, DenseTrainSettings, reading_of

if TYPE_CHECKING:
    from visionfm.tasks.maps.examples import Example
    from visionfm.tasks.resume import StateFile


def add_dense_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files that dense tasks need beside their caches."""
    parser.add_argument("--encoders", nargs="+", metavar="DATASET=FILE", help="dense tasks: encoder.safetensors")
    parser.add_argument("--roots", nargs="+", metavar="DATASET=DIR", help="dense tasks: the folders of the images")


class DenseFiles:
    """The files of a dense task's datasets: caches, encoders and root folders."""

    def __init__(self, features: Sequence[str], encoders: Sequence[str] | None, roots: Sequence[str] | None) -> None:
        """Read DATASET=FILE arguments."""
        self.caches = by_dataset(features)
        self.encoders = {name: paths[0] for name, paths in by_dataset(encoders or []).items()}
        self.roots = {name: paths[0] for name, paths in by_dataset(roots or []).items()}

    def check(self, datasets: Sequence[str]) -> None:
        """Raise UsageError unless each dataset has all of them."""
        check_given("--encoders", datasets, self.encoders)
        check_given("--roots", datasets, self.roots)


def train_dense(table: Path, files: DenseFiles, out: Path, training_out: Path, settings: DenseTrainSettings) -> None:
    """Train one dense decoder; see the module."""
    has_truth = kind_of(settings.kind).fit().has_truth
    samples = [sample for sample in read_dense_samples(table) if has_truth(sample, settings.targets)]
    datasets = list(dict.fromkeys(sample.dataset for sample in samples))
    files.check(datasets)
    counts = Counter(sample.split for sample in samples)
    what = kind_of(settings.kind).fit().TRUTH
    check_splits(counts, f"image with {what}", dict.fromkeys(("train", "validation"), "none"), table)
    inputs = {"used": _used(samples, settings), **token_inputs(files, datasets, settings)}
    fit_decoder("train", settings, inputs, out, training_out, lambda file: _fit(samples, files, settings, file))


def _used(samples: Sequence[DenseSample], settings: DenseTrainSettings) -> str:
    """Return the digest of what training uses of its samples: a second observer's masks, say, are no part of it."""
    truth_of = kind_of(settings.kind).fit().truth_of
    rows = [
        [
            *(sample.sample_id, sample.subject_id, sample.dataset, sample.split, sample.path, sample.image_id),
            *(sample.width, sample.height, sample.orientation),
            truth_of(sample, settings.targets),
        ]
        for sample in samples
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def token_inputs(
    files: DenseFiles, datasets: Sequence[str], settings: DenseTrainSettings | DensePredictSettings
) -> dict[str, str]:
    """Return what the tokens of the datasets depend on beside their images, as inputs of a key."""
    found = {}
    for name in datasets:
        encoder = read_encoder_file(files.encoders[name])
        found[f"tokens/{name}"] = "/".join(identity_of(encoder, settings.size, reading_of(settings, name)))
    return found


def encodings_of(
    samples: Sequence[DenseSample], files: DenseFiles, settings: DenseTrainSettings | DensePredictSettings
) -> encodings.Encodings:
    """Return how the images of samples are encoded."""
    pairs = {(sample.modality, sample.dataset) for sample in samples}
    facts = {dataset: read_encoder_file(files.encoders[dataset]) for _, dataset in pairs}
    return encodings.joined(
        (modality, encodings.Encoding.of(identity_of(facts[name], settings.size, reading_of(settings, name))))
        for modality, name in pairs
    )


def _fit(samples: Sequence[DenseSample], files: DenseFiles, settings: DenseTrainSettings, file: "StateFile") -> Fitted:
    from visionfm.tasks.loop import trained
    from visionfm.tasks.maps.decoder import network_of
    from visionfm.tasks.maps.examples import swap_order
    from visionfm.tasks.maps.spec import DenseSpec
    from visionfm.tasks.maps.tokens import TokenSource
    from visionfm.tasks.maps.training import DenseTraining, Validation

    check_device(settings.device)
    datasets = list(dict.fromkeys(sample.dataset for sample in samples))
    store = DenseStore({name: files.caches[name] for name in datasets})
    store.locate((s.dataset, s.path, s.image_id) for s in samples if not store.streamed(s.dataset))
    encoders = {name: files.encoders[name] for name in datasets}
    source = TokenSource(encoders, settings.datasets, settings.size, settings.device, store)
    recipe = settings.recipe
    train = _examples(samples, "train", files, settings)
    objective = kind_of(settings.kind).fit().make(train, recipe, settings)
    patch, width = source.shape
    spec = DenseSpec(
        kind=settings.kind,
        targets=settings.targets,
        modalities=settings.modalities,
        head=recipe.head,
        size=settings.size,
        patch=patch,
        width=width,
        outputs=objective.outputs,
        target_width=recipe.target_width,
        tile_overlap=settings.tile_overlap,
        swaps=settings.swaps,
    )
    tile_px = None if settings.tile_overlap is None else settings.size
    validation = Validation(_examples(samples, "validation", files, settings), settings.size, settings.tile_overlap)

    def start() -> DenseTraining:
        return DenseTraining(
            network_of(spec).to(settings.device),
            train,
            validation,
            objective,
            recipe,
            source,
            settings.seed,
            settings.device,
            swap_order(settings.targets, settings.swaps),
            tile_px,
        )

    with trained(start, settings, settings.threads, file) as run:
        spec = replace(spec, threshold=validation.threshold(run))
    counts = (len(train), len(validation.examples), len({example.sample.subject_id for example in train}))
    quality = abs(run.history[run.best_epoch - 1]["selection"])
    said = f"validation {kind_of(settings.kind).fit().SCORE} {quality:.4g}; encoded {source.computed}"
    origin = encodings.origin(encodings_of(samples, files, settings), run.views)
    return Fitted.by(run, spec, arrays_of(run.best), counts, said)._replace(origin=origin)


def _examples(
    samples: Sequence[DenseSample], split: str, files: DenseFiles, settings: DenseTrainSettings
) -> "list[Example]":
    """Return a split's examples in memory: about 1 MB per image at 512 px."""
    from visionfm.tasks.maps.examples import read_example

    native = settings.tile_overlap is not None
    return [
        read_example(s, files.roots[s.dataset], settings.datasets[s.dataset], settings.targets, settings.size, native)
        for s in samples
        if s.split == split
    ]
