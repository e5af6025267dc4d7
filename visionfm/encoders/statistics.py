"""Input normalisation and licence of an encoder: what its weights were trained with, unless the config says otherwise.

Invariant: where the file does not show what it was trained with, the config has to say it.
"""

from collections.abc import Mapping
from typing import Any

from visionfm.config.base import Statistics
from visionfm.encoders import dialects
from visionfm.encoders.settings import ImportSettings
from visionfm.errors import ConfigError, DataError
from visionfm.modalities import ANY, IMAGENET_MEAN, IMAGENET_STD, MODALITIES, RGB, canonical

UNKNOWN = "unknown"
LICENCES = {  # of the published weights written in a dialect; docs/weights.md says whose they are
    dialects.VISIONFM: "CC BY-NC 4.0",
    dialects.FINETUNED: "CC BY-NC 4.0",
    dialects.MAE: "CC BY-NC 4.0",
    dialects.DINOV2: "Apache-2.0",
    dialects.DINOV3: "DINOv3 License",
    dialects.RANDOM: "none (untrained)",
}
TRAINED_ON_IMAGENET_STATISTICS = (dialects.MAE, dialects.DINOV2, dialects.DINOV3)


def licence(dialect: str, key: str | None, modality: str, known: Mapping[str, Any]) -> str:
    """Return the licence of weights: the file's or timm's own word, else that of the published ones in this dialect."""
    if known.get("licence"):
        return str(known["licence"])
    if dialect == dialects.DINOV2 and key is not None:
        return f"{UNKNOWN} (CC BY-NC 4.0 if RETFound's)"
    if dialect == dialects.VISIONFM and modality == ANY:
        return UNKNOWN
    return LICENCES.get(dialect, UNKNOWN)


def resolve(settings: ImportSettings, dialect: str, known: Mapping[str, Any]) -> tuple[RGB, RGB]:
    """Return mean and std, RGB in [0, 1]; `known` is what the file or timm says itself (`mean`, `std`)."""
    choice = settings.statistics
    if isinstance(choice, Statistics):
        return _checked(choice.mean, choice.std)
    if choice == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    if choice == "modality":
        return _of_modality(settings)
    if known.get("mean") and known.get("std"):
        return _checked(known["mean"], known["std"])
    if dialect in TRAINED_ON_IMAGENET_STATISTICS:
        return IMAGENET_MEAN, IMAGENET_STD
    if dialect in (dialects.VISIONFM, dialects.FINETUNED, dialects.RANDOM):
        return _of_modality(settings)
    raise DataError(
        "the weights file does not show which input normalisation it was trained with",
        expected="a VisionFM, RETFound, DINOv2 or DINOv3 file, or a timm name",
        found="a vision transformer of unknown origin",
        do="set the encoder's `statistics`: modality, imagenet, or its own {mean: [3 values], std: [3 values]}",
    )


def _of_modality(settings: ImportSettings) -> tuple[RGB, RGB]:
    if settings.modality == ANY:
        raise ConfigError(
            "an encoder for any modality has no modality's statistics",
            expected="statistics: imagenet, or {mean: [3 values], std: [3 values]}",
            found=f"statistics: {settings.statistics}",
            do="set the encoder's `statistics`, or its `modality`",
        )
    if settings.modality_statistics is not None:
        return _checked(settings.modality_statistics.mean, settings.modality_statistics.std)
    modality = MODALITIES[canonical(settings.modality)]
    return modality.mean, modality.std


def _checked(mean: Any, std: Any) -> tuple[RGB, RGB]:
    triples = [tuple(float(value) for value in values) for values in (mean, std)]
    if any(len(triple) != 3 for triple in triples) or min(triples[1]) <= 0:
        raise ConfigError(
            "statistics that cannot be used", expected="three means and three std above 0", found=f"{mean}, {std}"
        )
    return triples[0], triples[1]  # type: ignore[return-value]
