"""The command line of `predict` for dense tasks: the samples of a task, or any images with an encoder and a decoder.

visionfm predict --decoder decoder.safetensors --images photos --encoder encoder.safetensors
    --settings '{"kind": "segmentation"}' --out predictions.parquet --masks-out masks.zip
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from visionfm import artifacts
from visionfm.data.columns import DenseSample, read_dense_samples
from visionfm.data.layouts.folders import files_below
from visionfm.encoders import given
from visionfm.encoders.file import read_encoder_file
from visionfm.errors import UsageError
from visionfm.features.settings import TokenReading
from visionfm.images.reading import usable
from visionfm.tasks import encodings, kind_of
from visionfm.tasks.decoder_file import is_own
from visionfm.tasks.maps.predict import Outputs, predict_dense
from visionfm.tasks.maps.settings import DensePredictSettings, reading_of
from visionfm.tasks.maps.train import DenseFiles

IMAGES = "images"  # the name of a dataset that is a folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what only dense tasks read and write."""
    parser.add_argument("--images", type=Path, metavar="DIR", help="dense tasks: a folder of images, without samples")
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="dense tasks: the encoder of --images")
    given.add_arguments(parser)
    parser.add_argument(
        "--masks-out", type=Path, metavar="FILE", help="segmentation: masks.zip, and a folder beside it"
    )
    parser.add_argument("--probabilities-out", type=Path, metavar="FILE", help="segmentation: probabilities.zip")


def main(args: argparse.Namespace) -> None:
    """Predict the samples of a task, or the images of a folder."""
    settings = DensePredictSettings.model_validate_json(args.settings)
    if (args.samples is None) == (args.images is None):
        raise UsageError("give what is to be predicted", expected="either --samples FILE or --images DIR")
    has_masks = kind_of(settings.kind).block.has_masks
    if has_masks and args.masks_out is None:
        raise UsageError(f"{settings.kind} writes masks", expected="--masks-out FILE.zip")
    if not has_masks and (args.masks_out or args.probabilities_out):
        raise UsageError(f"{settings.kind} are no masks", found="--masks-out or --probabilities-out", do="drop it")
    outputs = Outputs(args.out, args.masks_out, args.probabilities_out)
    if args.images is None:
        files = DenseFiles(args.features or [], args.encoders, args.roots)
        samples, digest = read_dense_samples(args.samples), artifacts.payload_digest(args.samples)
        predict_dense(args.decoder, samples, digest, files, outputs, settings)
        return
    with given.encoder_file(given.from_arguments(args)) as encoder:
        files = DenseFiles([], [f"{IMAGES}={encoder}"], [f"{IMAGES}={args.images}"])
        settings = _of_folder(settings, args.decoder, encoder)
        samples = samples_of_folder(args.images, settings)
        digest = hashlib.sha256(json.dumps([[s.path, s.image_id] for s in samples]).encode()).hexdigest()
        predict_dense(args.decoder, samples, digest, files, outputs, settings)


def _of_folder(settings: DensePredictSettings, decoder: Path, encoder: Path) -> DensePredictSettings:
    """Return the settings for a folder's images: read as the decoder's own, where nothing is said of it.

    Its modality is the decoder's where there is one alone; an encoder of several has to know it.
    """
    update: dict[str, Any] = {"splits": ["test"]}
    if is_own(decoder):
        known = encodings.recorded(artifacts.read_metadata(decoder), decoder)
        of_mix = {"modality": next(iter(known))} if len(known) == 1 and read_encoder_file(encoder).is_mix else {}
        if len(known) == 1 and not settings.modalities:
            update["modalities"] = list(known)
        if IMAGES not in settings.datasets:
            first = next(iter(known.values()))[0]
            reading = TokenReading(**dict(first.resizing()), precision=first.precision, **of_mix)
            update["datasets"] = {**settings.datasets, IMAGES: reading}
    return settings.model_copy(update=update)


def samples_of_folder(folder: Path, settings: DensePredictSettings) -> list[DenseSample]:
    """Return all images below a folder as samples without truth; DataError listing those that cannot be used."""
    modality = settings.modalities[0] if len(settings.modalities) == 1 else ""
    paths, do = [listed.path for listed in files_below(folder)], "repair or remove these files"
    return [
        DenseSample(
            sample_id=f"{IMAGES}/{path}",
            subject_id=f"{IMAGES}/{path}",
            dataset=IMAGES,
            split="test",
            modality=modality,
            path=path,
            image_id=facts.image_id,
            width=facts.width,
            height=facts.height,
            orientation=facts.orientation,
        )
        for path, facts in usable(folder, paths, reading_of(settings, IMAGES), skip=False, do=do)
    ]
