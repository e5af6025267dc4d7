"""Stage `finetune`: from train.parquet, its images and an encoder to a fine-tuned encoder and its decoder.

Writes encoder.safetensors (an encoder like any other: `extract` reads it), decoder.safetensors and training.parquet;
the three carry one key and are recalled together, before torch is imported. Under torchrun every process runs this and
the first one writes.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.arguments import by_dataset, check_given
from visionfm.encoders.file import SCHEMA, read_encoder_file
from visionfm.errors import DataError, UsageError
from visionfm.images.transforms import VIEWS, transform_name
from visionfm.runtime.processes import choose_device, decoding_processes, this_process
from visionfm.runtime.reproducible import reproducible
from visionfm.tasks import encodings
from visionfm.tasks.finetuning.settings import FinetuneSettings
from visionfm.tasks.fitting import Fitted, fit_decoder
from visionfm.tasks.samples import Samples
from visionfm.tasks.slots import slots
from visionfm.tasks.train import objective_of, training_samples
from visionfm.tasks.vectors.spec import Spec

if TYPE_CHECKING:
    from visionfm.tasks.resume import StateFile

DIALECT = "finetuned"
log = logging.getLogger("visionfm")


class Outputs(NamedTuple):
    """Where the stage writes."""

    decoder: Path
    encoder: Path
    training: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    parser.add_argument("--train", required=True, type=Path, help="train.parquet")
    parser.add_argument("--root", required=True, nargs="+", metavar="DATASET=DIR", help="folders of the images")
    parser.add_argument("--encoder", required=True, type=Path, help="encoder.safetensors to start from")
    parser.add_argument("--out", required=True, type=Path, help="decoder.safetensors")
    parser.add_argument("--encoder-out", required=True, type=Path, help="the fine-tuned encoder.safetensors")
    parser.add_argument("--training-out", required=True, type=Path, help="training.parquet: one row per epoch")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = FinetuneSettings.model_validate_json(args.settings)
    roots = {name: paths[0] for name, paths in by_dataset(args.root).items()}
    finetune(args.train, roots, args.encoder, Outputs(args.out, args.encoder_out, args.training_out), settings)


def finetune(
    train_table: Path, roots: Mapping[str, Path], encoder: Path, outputs: Outputs, settings: FinetuneSettings
) -> None:
    """Fine-tune one encoder with its decoder; see the module."""
    samples = training_samples(train_table, settings)
    check_given("--root", (dataset for dataset, _, _ in samples.references), roots)
    inputs = {"train": artifacts.payload_digest(train_table), "encoder": artifacts.payload_digest(encoder)}
    fit_decoder(
        "finetune", settings, inputs, outputs.decoder, outputs.training,
        lambda file: _fit(samples, roots, encoder, outputs.encoder, settings, file), [outputs.encoder],
    )  # fmt: skip


def _check_images(samples: Samples, settings: FinetuneSettings) -> None:
    """Raise where a sample is not one image, or classes cannot be balanced."""
    count_N = np.bincount(samples.sample_I, minlength=len(samples))
    if (count_N != 1).any():
        raise DataError("fine-tuning has samples that are not one image", do="set `unit: image` and `fusion: pooled`")
    if settings.recipe.class_balanced and slots(settings.targets)[0].target.type not in ("binary", "multiclass"):
        raise UsageError("class_balanced needs a binary or multiclass target in the first place")


def _fit(
    samples: Samples,
    roots: Mapping[str, Path],
    encoder_path: Path,
    encoder_out: Path,
    settings: FinetuneSettings,
    file: "StateFile",
) -> Fitted | None:
    """Fine-tune and write the encoder; None in processes that write nothing."""
    _check_images(samples, settings)
    import torch

    from visionfm.encoders.vit import load_encoder
    from visionfm.runtime.interruption import stop_on_signal
    from visionfm.runtime.randomness import derived_seed
    from visionfm.tasks.finetuning.images import Augmentation, Images
    from visionfm.tasks.finetuning.network import TunedNetwork
    from visionfm.tasks.finetuning.probe import probe_recipe, start_from_probe
    from visionfm.tasks.finetuning.processes import joined
    from visionfm.tasks.finetuning.training import Data, Finetuning
    from visionfm.tasks.vectors import decoder as decoders

    recipe = settings.recipe
    process = this_process()
    device = choose_device(settings.device, settings.gpu if settings.device == "cuda" else 0, process.local_rank)
    parts = {split: samples.take(samples.in_splits([split])) for split in ("train", "validation")}
    truth_NT = parts["train"].truth_NT
    objective = objective_of(settings, recipe, truth_NT)
    with reproducible(settings.threads), stop_on_signal() as stop, joined(process, device):
        torch.manual_seed(derived_seed(settings.seed, "start"))
        encoder = load_encoder(encoder_path, modality=_only(settings.modalities))
        width = encoder.vector_width(recipe.features)
        spec = Spec(
            settings.kind, settings.targets, settings.modalities, "pooled", recipe.head, recipe.features, [width]
        )
        network = TunedNetwork(encoder, decoders.Decoder(spec), recipe).to(device)
        how = Augmentation.of(recipe, encoder, settings.exact_decode)
        data = {
            split: Data(Images(part, roots, settings.datasets, how), torch.from_numpy(part.truth_NT.astype(np.float32)))
            for split, part in parts.items()
        }
        weight_N = torch.from_numpy(_balanced(truth_NT[:, 0])) if recipe.class_balanced else None
        training = Finetuning(
            network, data["train"], data["validation"], objective, recipe, settings.seed, weight_N, process, device,
            decoding_processes(settings.workers, device),
        )  # fmt: skip
        if (state := file.load(str(device))) is not None:
            training.restore(state)
            log.info("finetune: goes on in epoch %d, after step %d", training.done + 1, training.step)
        elif recipe.probe_first:
            start_from_probe(training, objective_of(settings, probe_recipe(recipe), truth_NT), stop)
        training.run(stop, file, settings.checkpoint_minutes)
    if process.rank:
        return None
    network.take(training.best)
    tensors = {name: tensor.numpy() for name, tensor in network.encoder_tensors().items()}
    metadata = _encoder_metadata(encoder_path, _only(settings.modalities))
    artifacts.write_tensors(encoder_out, tensors, file.made_by, schema=SCHEMA, extra=metadata)
    mean_F, std_F = (value.cpu().numpy() for value in (network.mean_F, network.std_F))
    known = {modality: (mean_F, std_F) for modality in settings.modalities}
    counts = (len(truth_NT), len(data["validation"].images), len(set(parts["train"].ids["subject_id"])))
    loss = next(row["validation_loss"] for row in training.history if row["epoch"] == training.best_epoch)
    decoder = decoders.file_tensors(network.decoder.state_dict(), objective, known)
    tuned = read_encoder_file(encoder_out)
    transform, blocks = transform_name(how.size_px, how.interpolation, how.exact), json.dumps(tuned.vector_blocks)
    encoding = encodings.Encoding(tuned.sha256, transform, blocks, recipe.precision)
    origin = encodings.origin({modality: [encoding] for modality in settings.modalities}, VIEWS)
    return Fitted.by(training, spec, decoder, counts, f"validation loss {loss:.4g}")._replace(origin=origin)


def _encoder_metadata(base: Path, modality: str | None) -> dict[str, str]:
    """Return the metadata of the encoder that training started from, its source naming that encoder.

    What was one of several modalities is one of this task's alone afterwards.
    """
    file = read_encoder_file(base)
    statistics = file.statistics(modality)
    own = {"mean": json.dumps(list(statistics.mean)), "std": json.dumps(list(statistics.std))}
    own |= {"modality": modality} if file.is_mix and modality is not None else {}
    source = {**file.source, "sha256": file.sha256, "dialect": DIALECT, "key": None}
    kept = ("arch", "image_size", "patch", "modality", "interpolation", "stages", "timm")
    same = {name: file.metadata[name] for name in kept if name in file.metadata}
    empty = {"renamed": "{}", "dropped": "{}"}
    return {**same, **own, "source": json.dumps(source, sort_keys=True), **empty}


def _only(modalities: Sequence[str]) -> str | None:
    """Return the task's modality where it has one alone: an encoder of several needs to know which is meant."""
    return modalities[0] if len(modalities) == 1 else None


def _balanced(class_N: Any) -> Any:
    """Return each sample's chance, so that all classes are drawn equally often; unknown ones as the rarest class is."""
    known_N = ~np.isnan(class_N)
    _, which, counts = np.unique(class_N[known_N], return_inverse=True, return_counts=True)
    weight_N = np.full(len(class_N), 1.0 / counts.max())
    weight_N[known_N] = 1.0 / counts[which]
    return weight_N
