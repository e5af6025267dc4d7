"""Stage `pretrain`: images of one or more datasets to encoder.safetensors and training.parquet.

A finished encoder is kept as long as the config asks for the same one, whatever images were added and whatever version
the stage has by now; the log says `trained on 10,000 of 10,412 images`. An unfinished one goes on from its last
checkpoint with the images that it began with. torch is imported only when there is something to train.
"""

import argparse
import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visionfm import artifacts
from visionfm.artifacts.files import put_back
from visionfm.config.base import Statistics
from visionfm.encoders.checksum import SCHEMA as CHECKSUM
from visionfm.encoders.checksum import sha256_of
from visionfm.errors import ArtifactError, DataError, UsageError
from visionfm.pretraining import source as sources
from visionfm.pretraining.checkpoints import Folder
from visionfm.pretraining.settings import CPU_WORKERS, PretrainSettings
from visionfm.pretraining.source import ImageSource
from visionfm.pretraining.staging import on_local_disk
from visionfm.runtime.processes import choose_device, this_process

if TYPE_CHECKING:
    import torch

    from visionfm.pretraining.monitoring import Labelled

SCHEMA, TRAINING_SCHEMA = "visionfm/encoder/1", "visionfm/pretraining/1"
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's files."""
    sources.add_arguments(parser)
    parser.add_argument("--weights-sum", type=Path, help="weights.json of the file in `init`, as `checksum` writes it")
    parser.add_argument("--knn-labels", type=Path, help="labels.parquet of the dataset in `knn`")
    parser.add_argument("--knn-root", type=Path, help="the folder that its paths start from")
    parser.add_argument("--out", required=True, type=Path, help="encoder.safetensors")
    parser.add_argument("--training-out", required=True, type=Path, help="training.parquet: a row per interval")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--resume", type=Path, help="go on from this checkpoint instead of the newest")


class Files(NamedTuple):
    """Where a training writes, and what it may be told beside its settings."""

    out: Path
    training_out: Path
    monitors: Path
    threads: int | None = None
    resume: Path | None = None


class Trained(NamedTuple):
    """A finished encoder in memory: timm's tensors, the rows of its training, what it is, under which licence."""

    tensors: "dict[str, torch.Tensor]"
    rows: list[dict[str, Any]]
    arch: str
    patch: int
    licence: str
    network: str  # of the checkpoint that it is: teacher or student


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = PretrainSettings.model_validate_json(args.settings)
    monitors = args.log.with_suffix("") if args.log else args.out.parent / "pretraining" / "monitors"
    files = Files(args.out, args.training_out, monitors, args.threads, args.resume)
    given = {name: said for name, said in settings.statistics.items() if isinstance(said, Statistics)}
    source = on_local_disk(sources.from_arguments(args, settings.datasets, given))
    init = _init_sha256(settings, args.weights_sum)
    pretrain(settings, source, files, init_sha256=init, knn_files=(args.knn_labels, args.knn_root))


def _init_sha256(settings: PretrainSettings, weights_sum: Path | None) -> str | None:
    if settings.init is None:
        return None
    stated = None if weights_sum is None else str(artifacts.read_json(weights_sum, CHECKSUM)["sha256"])
    path = Path(settings.init)
    if not path.is_file():
        if stated is not None:  # a finished encoder may outlive the file it started from
            return stated
        raise DataError("the weights to start from are missing", where=path, do="correct `init`")
    found = sha256_of(path)
    if stated is not None and found != stated:
        raise DataError(
            "the weights file is not the one whose checksum was taken",
            expected=f"sha256 {stated}",
            found=f"sha256 {found}",
            where=path,
            do="run again; if it stays so, the file changes while it is read",
        )
    return found


def pretrain(
    settings: PretrainSettings,
    source: ImageSource,
    files: Files,
    *,
    init_sha256: str | None = None,
    knn_files: tuple[Path | None, Path | None] = (None, None),
) -> None:
    """Write the encoder and its curves, unless they are there already; see the module. Under torchrun all call this."""
    identity = settings.identity(init_sha256)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    if _kept(files, digest, source):
        return
    inputs = {} if init_sha256 is None else {"init": init_sha256}
    folder = Folder(files.out, artifacts.provenance("pretrain", identity, inputs, settings.recipe.seed), identity)
    leads = this_process().rank == 0
    source = _begin(settings, source, folder, leads)
    trained = _train(settings, source, files, folder, _labelled(settings, knn_files, source))
    if leads:
        images = hashlib.sha256("\n".join(source.image_ids).encode()).hexdigest()
        made_by = artifacts.provenance("pretrain", identity, {**inputs, "images": images}, settings.recipe.seed)
        _write(settings, source, files, trained, made_by, digest)
        folder.keep(1)  # the last one can still be exported, or continued elsewhere


def _kept(files: Files, digest: str, source: ImageSource) -> bool:
    """Put back a finished encoder of the same config, with its curves; say what it was trained on."""
    found: dict[Path, tuple[Path, dict[str, str]]] = {}
    for path in (files.out, files.training_out):
        for candidate in (artifacts.kept_path(path), path):
            if candidate is None or not candidate.is_file():
                continue
            try:
                metadata = artifacts.read_metadata(candidate)
            except ArtifactError as error:
                log.warning("%s is damaged: %s", candidate, error.problem)
                continue
            if metadata.get("config") == digest:
                found[path] = (candidate, metadata)
                break
    if len(found) < 2 or len({metadata["key"] for _, metadata in found.values()}) > 1:
        return False
    if this_process().rank == 0:
        for path, (candidate, _) in found.items():
            put_back(candidate, path)
    trained = int(found[files.out][1]["trained_images"])
    if trained != len(source):
        log.info("pretrain: trained on %s of %s images", f"{trained:,}", f"{max(trained, len(source)):,}")
        log.info("pretrain: `visionfm forget %s` trains it anew, on all of them", files.out.parent)
    log.info("unchanged: %s", files.out)
    return True


def _begin(settings: PretrainSettings, source: ImageSource, folder: Folder, leads: bool) -> ImageSource:
    """Return the images and statistics that the training began with; now, where it begins now."""
    _check_images(source, settings)
    begun = folder.images()
    if begun is not None:
        image_ids, statistics = begun
        if len(image_ids) != len(source):
            log.info("pretrain: goes on with the %s images that it began with", f"{len(image_ids):,}")
        return source.take(image_ids).with_statistics(statistics)
    if "auto" in settings.statistics.values():
        from visionfm.pretraining.measuring import measure

        workers = CPU_WORKERS if settings.workers is None else settings.workers
        measured = measure(source, settings.recipe.image_size, workers, settings.interpolation)
        source = source.with_statistics({**measured, **source.statistics})
    if leads:
        folder.mention_others()
        folder.begin(source.image_ids, source.statistics)
    return source


def _check_images(source: ImageSource, settings: PretrainSettings) -> None:
    batch = settings.recipe.batch_size
    if len(source) < batch:
        log.warning(
            "pretrain: %d images are fewer than a batch of %d: each step sees all of them once, and the learning rate "
            "is scaled to that",
            *(len(source), batch),
        )


def _labelled(
    settings: PretrainSettings, knn_files: tuple[Path | None, Path | None], source: ImageSource
) -> "Labelled | None":
    if settings.knn is None:
        return None
    from visionfm.pretraining.monitoring import Labelled

    labels, root = knn_files
    if labels is None or root is None or settings.knn_images is None:
        raise UsageError("k-NN lacks its dataset", expected="--knn-labels and --knn-root", found="none")
    reading = settings.knn_images
    return Labelled(labels, root, reading, source.statistics[reading.modality], settings.recipe.image_size)


def _train(
    settings: PretrainSettings, source: ImageSource, files: Files, folder: Folder, labelled: "Labelled | None"
) -> Trained:
    import torch

    from visionfm.pretraining import processes, starting
    from visionfm.pretraining.crops import check_sizes
    from visionfm.pretraining.monitoring import Monitor
    from visionfm.pretraining.networks import parameter_bytes
    from visionfm.pretraining.training import Training
    from visionfm.runtime.interruption import stop_on_signal

    device = choose_device(settings.device, settings.gpu, this_process().local_rank)
    if files.threads:
        torch.set_num_threads(files.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = settings.recipe.precision != "fp32"
    elif settings.recipe.precision == "fp16":
        log.warning("pretrain: fp16 is for GPUs; on the CPU this computes in fp32")
    start = starting.start(settings, len(source))
    check_sizes(settings.recipe, start.pair.patch, start.arch)
    folder.check_space(parameter_bytes(start.pair))
    monitors = list(settings.monitors) if this_process().rank == 0 else []
    monitor = Monitor(monitors, files.monitors, settings.knn, labelled)
    with stop_on_signal() as stop, processes.joined(device, stop) as group:
        training = Training(start, source, settings, group, folder)
        if (state := folder.load(files.resume) if files.resume else folder.latest()) is not None:
            training.restore(state)
            log.info("pretrain: goes on after step %d of %d", state.step, training.schedules.total)
        training.run(stop, monitor)
        tensors = training.encoder_tensors()
    return Trained(tensors, training.rows, start.arch, start.pair.patch, start.licence, training.learner.finished)


def _write(
    settings: PretrainSettings,
    source: ImageSource,
    files: Files,
    trained: Trained,
    made_by: artifacts.Provenance,
    digest: str,
) -> None:
    import pyarrow as pa

    recipe, shared = settings.recipe, {"config": digest, "trained_images": str(len(source))}
    types = {"step": pa.int64(), "epoch": pa.int32(), "images": pa.int64()}
    columns = {
        name: pa.array([row[name] for row in trained.rows], types.get(name, pa.float64())) for name in trained.rows[0]
    }
    artifacts.write_table(
        files.training_out,
        pa.table(columns),
        made_by,
        schema=TRAINING_SCHEMA,
        extra={**shared, "recipe": settings.recipe_name},
    )
    one = source.statistics[settings.modality] if settings.scheme == "single" else None
    by_modality = {name: said.model_dump() for name, said in source.statistics.items()}
    extra = {
        **shared,
        "arch": trained.arch,
        "image_size": str(recipe.image_size),
        "patch": str(trained.patch),
        "modality": settings.modality,
        "mean": json.dumps(None if one is None else one.mean),
        "std": json.dumps(None if one is None else one.std),
        "interpolation": settings.interpolation,
        "source": json.dumps(
            {
                "name": "pretrain",
                "sha256": None,
                "dialect": "encoder",
                "key": trained.network,
                "licence": trained.licence,
                "recipe": settings.recipe_name,
                "epochs": recipe.epochs,
                "images": source.by_modality,
                "datasets": sorted(settings.datasets),
            },
            sort_keys=True,
        ),
        "renamed": "{}",
        "dropped": "{}",
    }
    if one is None:
        extra["statistics"] = json.dumps(by_modality, sort_keys=True)
    arrays = {name: tensor.numpy() for name, tensor in trained.tensors.items()}
    artifacts.write_tensors(files.out, arrays, made_by, schema=SCHEMA, extra=extra)
    log.info(
        "pretrain: %s images, %d epochs, loss %.4f; %s",
        *(f"{len(source):,}", recipe.epochs, trained.rows[-1]["loss"], files.out),
    )
