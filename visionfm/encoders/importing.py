"""Stage `import`: a checkpoint of any known dialect, or an untrained network by seed, becomes `encoder.safetensors`.

Reads a weights file (and its `weights.json`); writes float32 tensors under timm's names with everything an encoder
needs to be used. Invariant: the same bytes of weights and the same settings give the same bytes, wherever the file
lies.
"""

import argparse
import json
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visionfm import artifacts
from visionfm.config.base import Statistics
from visionfm.encoders.checksum import SCHEMA as CHECKSUM
from visionfm.encoders.checksum import check_present, sha256_of
from visionfm.encoders.file import SCHEMA
from visionfm.encoders.settings import MEASURED, ImportSettings
from visionfm.errors import ArtifactError, DataError, UsageError

if TYPE_CHECKING:
    import torch

RANDOM = "random"
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's own flags."""
    parser.add_argument("--weights-sum", type=Path, help="weights.json of the weights file, as `checksum` writes it")
    parser.add_argument("--statistics", type=Path, help="statistics.json, as `measure` writes it")
    parser.add_argument("--out", type=Path, required=True, help="encoder.safetensors to write")


def main(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = ImportSettings.model_validate_json(args.settings)
    import_encoder(_measured(settings, args.statistics), args.out, weights_sum=args.weights_sum)


def _measured(settings: ImportSettings, statistics: Path | None) -> ImportSettings:
    """Put measured statistics where the settings leave them open: as the encoder's choice, or as its modality's."""
    if statistics is None:
        if settings.statistics == "auto":
            raise UsageError("`statistics: auto` needs measured ones", expected="--statistics", do="run `measure`")
        return settings
    said = artifacts.read_json(statistics, MEASURED)
    found = Statistics(mean=said["mean"], std=said["std"])
    return settings.model_copy(
        update={"statistics": found} if settings.statistics == "auto" else {"modality_statistics": found}
    )


def import_encoder(settings: ImportSettings, out: Path, *, weights_sum: Path | None = None) -> None:
    """Write the encoder that `settings` describe to `out`, unless it is there already.

    Raises DataError for weights that are missing, changed since their checksum was taken, unreadable, poisoned,
    ambiguous or incomplete.
    """
    untrained = settings.weights == RANDOM
    from_file = Path(settings.weights) if settings.weights is not None and not untrained else None
    if from_file is None and not untrained and settings.timm is None:
        raise UsageError(
            "an encoder without weights", expected="weights (a path, or `random`) or timm", do="set one of them"
        )
    stated: dict[str, Any] = {}
    if from_file is not None:
        stated = _identity(from_file, weights_sum)
    inputs = {"weights": str(stated["sha256"])} if stated else {}
    own_slice = {**settings.model_dump(mode="json", exclude={"weights"}), "untrained": untrained}
    made_by = artifacts.provenance("import", own_slice, inputs, seed=settings.seed if untrained else None)
    if artifacts.recall(out, made_by):
        return
    if from_file is not None:
        check_present(from_file)
        _compare(from_file, stated)
    imported = _untrained(settings) if untrained else imported_from(settings, from_file)
    _report(imported)
    arrays = {name: tensor.numpy() for name, tensor in imported.tensors.items()}
    artifacts.write_tensors(out, arrays, made_by, schema=SCHEMA, extra=imported.metadata)


def _identity(weights: Path, weights_sum: Path | None) -> dict[str, Any]:
    """Return sha256, name and bytes of the weights as their sidecar states them, or as they are."""
    if weights_sum is None:
        check_present(weights)
        return {"sha256": sha256_of(weights), "name": weights.name, "bytes": weights.stat().st_size, "measured": True}
    stated = artifacts.read_json(weights_sum, CHECKSUM)
    if not {"sha256", "name", "bytes"} <= stated.keys():
        raise ArtifactError(
            "a checksum file without sha256, name and bytes", where=weights_sum, do="run `visionfm checksum` again"
        )
    return stated


def _compare(weights: Path, stated: dict[str, Any]) -> None:
    if stated.get("measured"):
        return
    found = sha256_of(weights)
    if found != stated["sha256"]:
        raise DataError(
            "the weights file is not the one whose checksum was taken",
            expected=f"sha256 {stated['sha256']}",
            found=f"sha256 {found}",
            where=weights,
            do="run again; if it stays so, the file changes while it is read",
        )


class Imported(NamedTuple):
    """An encoder in memory: float32 tensors by timm's names, and the artefact's metadata."""

    tensors: "dict[str, torch.Tensor]"
    metadata: dict[str, str]


def _untrained(settings: ImportSettings) -> Imported:
    """Return a network with timm's own initialisation, drawn from the seed alone."""
    import torch

    from visionfm.encoders import architectures, layouts, statistics

    name = settings.arch or _arch_of(settings.timm)
    if name is None:
        raise DataError(
            "an untrained encoder of no architecture",
            expected="arch: a timm architecture",
            do="set the encoder's `arch`",
        )
    mean, std = statistics.resolve(settings, layouts.RANDOM, {})
    build = architectures.build if architectures.is_column(name) else architectures.build_stages
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = build(name, image_size=settings.image_size, empty=False)
    state = architectures.without_counters(model.state_dict())
    tensors = {key: tensor.detach().float().contiguous() for key, tensor in state.items()}
    architecture = architectures.fitting(name, architectures.shapes_of(tensors), "timm")
    source = {
        "name": RANDOM,
        "sha256": None,
        "dialect": layouts.RANDOM.name,
        "key": None,
        "licence": layouts.RANDOM.licence,
    }
    return Imported(tensors, _metadata(settings, architecture, mean, std, source, {}, {}))


def _arch_of(timm_name: str | None) -> str | None:
    return None if timm_name is None else timm_name.partition(".")[0]


def imported_from(settings: ImportSettings, weights: Path | None) -> Imported:
    """Return the encoder in a weights file, or in timm's own weights (`weights` None)."""
    import torch

    from visionfm.encoders import anatomy, architectures, dialects, layouts, statistics, timm_weights
    from visionfm.encoders.checkpoints import check_types, read_checkpoint, select

    known: dict[str, Any] = {}
    if settings.timm is not None:
        known = timm_weights.known_of(settings.timm)
    path = weights if weights is not None else timm_weights.download(settings.timm or "")
    checkpoint = read_checkpoint(path)
    name = settings.arch or _arch_of(settings.timm)
    selection = select(checkpoint, settings.key)
    pool = None
    if checkpoint.metadata.get("schema") == SCHEMA:
        artifacts.read_metadata(path)
        known = {**_known_of_own(checkpoint.metadata), **{key: value for key, value in known.items() if value}}
        name = name or checkpoint.metadata["arch"]
        own_stages = anatomy.Stages.of(checkpoint.metadata)
        pool = own_stages.pool if own_stages and own_stages.pool != "own" else None
        conversion = dialects.convert(selection, layouts.Match(layouts.ENCODER, ""))
    elif (pooled := _pooled(selection)) is not None:
        conversion, pool = dialects.convert(selection, pooled, modality=settings.modality), pooled.layout.pool
    elif name is not None and not architectures.is_column(name):
        conversion = timm_weights.convert_stages(selection, name)
    elif settings.timm is not None:
        conversion = timm_weights.convert(selection, _arch_of(settings.timm) or "")
    else:
        match = dialects.recognise(selection)
        if name is None and match.layout.arch is not None:
            raise DataError(
                f"the tensors of {match.layout.title} do not show the whole architecture",
                expected="timm's name of it",
                where=path,
                do=f"give {match.layout.arch}",
            )
        if match.layout.network is not None:
            name = name or match.layout.network
            conversion = timm_weights.convert_stages(selection, name)._replace(layout=match.layout)
        else:
            conversion = dialects.convert(selection, match, keep_qkv_bias=bool(name and name.endswith("_qkvb")))
    shapes = architectures.shapes_of(conversion.tensors)
    architecture = architectures.fitting(name, shapes, path.name, pool)
    stored = architectures.stored_size(architecture, shapes)
    if stored not in (None, settings.image_size):
        log.info("positions: stored for %d px, resized to %d px whenever it is loaded", stored, settings.image_size)
    if rounded := check_types(selection, conversion.dropped):
        log.warning("%d tensors of float64 are rounded to float32, such as %s", len(rounded), rounded[0])
    _check_rotary(selection.tensors, architecture)
    _check_modality(checkpoint.content, settings)
    mean, std = statistics.resolve(settings, conversion.layout, known)
    source = {
        "name": settings.timm if weights is None else path.name,
        "sha256": sha256_of(path),
        "dialect": conversion.layout.name,
        "key": selection.key,
        "licence": statistics.licence(conversion.layout, selection.key, settings.modality, known),
    }
    tensors = {key: tensor.detach().to(torch.float32).contiguous() for key, tensor in conversion.tensors.items()}
    metadata = _metadata(settings, architecture, mean, std, source, conversion.renamed, conversion.dropped)
    return Imported(tensors, metadata)


def _pooled(selection: Any) -> Any:
    """Return the layout of a column whose tokens have no norm, and its prefix; None where the weights are no such."""
    from visionfm.encoders import architectures, layouts

    found = layouts.find(architectures.shapes_of(selection.tensors), selection.key)
    return found[0] if len(found) == 1 and found[0].layout.pool is not None else None


def _known_of_own(metadata: Any) -> dict[str, Any]:
    return {
        "mean": json.loads(metadata["mean"]),
        "std": json.loads(metadata["std"]),
        "licence": json.loads(metadata["source"])["licence"],
    }


def _check_rotary(tensors: "dict[str, torch.Tensor]", architecture: Any) -> None:
    """Compare the periods of DINOv3's rotary embedding with those of timm's model, which will be used."""
    from visionfm.encoders import architectures

    stored = tensors.get("rope_embed.periods")
    if stored is None:
        return
    model = architectures.build(
        architecture.name, image_size=4 * architecture.patch, patch=architecture.patch, empty=False
    )
    expected = getattr(getattr(model, "rope", None), "periods", None)
    if expected is None or expected.shape != stored.shape or not stored.float().allclose(expected.float(), rtol=1e-2):
        raise DataError(
            "the weights use rotary embeddings of other periods than the architecture",
            expected="none" if expected is None else f"{expected.min():.3g} to {expected.max():.3g}",
            found=f"{stored.float().min():.3g} to {stored.float().max():.3g}",
            do="such a network cannot be rebuilt here",
        )


def _check_modality(content: Any, settings: ImportSettings) -> None:
    """Warn where the training arguments in the file name another modality than the config."""
    from visionfm.modalities import ANY, canonical

    trained = getattr(content.get("args"), "modality", None)
    if not isinstance(trained, str) or settings.modality == ANY:
        return
    try:
        trained = canonical(trained)
    except Exception as error:  # a free text in somebody's file is no reason to stop
        log.debug("modality in the file: %s", error)
    if trained != settings.modality:
        log.warning("the weights say they were trained on %s, the config says %s", trained, settings.modality)


def _metadata(
    settings: ImportSettings,
    architecture: Any,
    mean: Any,
    std: Any,
    source: dict[str, Any],
    renamed: dict[str, str],
    dropped: dict[str, str],
) -> dict[str, str]:
    from visionfm.encoders.sizes import check_size

    check_size(settings.image_size, architecture.step, architecture.name)
    stages = architecture.stages
    own = {} if stages is None else {"stages": json.dumps(stages._asdict()), **_fed(settings)}
    return {
        **own,
        "arch": architecture.name,
        "image_size": str(settings.image_size),
        "patch": str(architecture.patch),
        "modality": settings.modality,
        "mean": json.dumps(list(mean)),
        "std": json.dumps(list(std)),
        "interpolation": settings.interpolation,
        "source": json.dumps(source, sort_keys=True),
        "renamed": json.dumps(renamed, sort_keys=True),
        "dropped": json.dumps(dropped, sort_keys=True),
    }


def _fed(settings: ImportSettings) -> dict[str, str]:
    """Return how timm feeds the network that the settings name, for the report; told where the config does otherwise.

    An image is never cropped here: what lies at its edge may be what is asked for.
    """
    from visionfm.encoders import timm_weights

    if settings.timm is None:
        return {}
    timms = timm_weights.data_config(settings.timm)
    own = {"px": settings.image_size, "interpolation": settings.interpolation}
    if own != {name: timms[name] for name in own}:
        log.warning(
            "timm feeds %s with %d px, %s, cropped to %g of the side; here it sees the whole image at %d px, %s",
            *(settings.timm, timms["px"], timms["interpolation"], timms["crop"] or 1),
            *(settings.image_size, settings.interpolation),
        )
    return {"timm": json.dumps(timms, sort_keys=True)}


def _report(imported: Imported) -> None:
    """Log what was recognised, and everything that was renamed or dropped, alike things together."""
    metadata = imported.metadata
    source = json.loads(metadata["source"])
    log.info("%s: %s, patch %s, %s", source["name"], metadata["arch"], metadata["patch"], source["dialect"])
    mean, std = (", ".join(f"{value:.3f}" for value in json.loads(metadata[name])) for name in ("mean", "std"))
    log.info("input: %s, mean %s, std %s; licence: %s", metadata["modality"], mean, std, source["licence"])
    for reason, count in Counter(json.loads(metadata["dropped"]).values()).items():
        names = [name for name, why in json.loads(metadata["dropped"]).items() if why == reason]
        log.info("dropped %d: %s (%s)", count, ", ".join(names[:6]) + (", ..." if count > 6 else ""), reason)
    renamed = json.loads(metadata["renamed"])
    if renamed:
        old, new = next(iter(renamed.items()))
        log.info("renamed %d, such as %s to %s; all are in the metadata", len(renamed), old, new)
