"""Input normalisation and licence of an encoder: what its weights were trained with, unless the config says otherwise.

Invariant: where the file does not show what it was trained with, the config has to say it.
"""

from collections.abc import Mapping
from typing import Any

from visionfm.config.base import Statistics
from visionfm.encoders.layouts import Layout
from visionfm.encoders.settings import ImportSettings
from visionfm.errors import ConfigError, DataError
from visionfm.modalities import ANY, IMAGENET_MEAN, IMAGENET_STD, MODALITIES, RGB, canonical

UNKNOWN = "unknown"
CLIP: tuple[RGB, RGB] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF: tuple[RGB, RGB] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT: tuple[RGB, RGB] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # values stay in [0, 1]


def licence(layout: Layout, key: str | None, modality: str, known: Mapping[str, Any]) -> str:
    """Return the licence of weights: the file's or timm's own word, else that of the published ones in this layout."""
    if known.get("licence"):
        return str(known["licence"])
    if layout.name == "dinov2" and key is not None:
        return f"{UNKNOWN} (CC BY-NC 4.0 if RETFound's)"
    if layout.name == "visionfm" and modality == ANY:
        return UNKNOWN
    return layout.licence


def resolve(settings: ImportSettings, layout: Layout, known: Mapping[str, Any]) -> tuple[RGB, RGB]:
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
    if layout.statistics == "modality":
        return _of_modality(settings)
    if layout.statistics != "said":
        return {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "clip": CLIP, "half": HALF, "unit": UNIT}[layout.statistics]
    raise DataError(
        "the weights file does not show which input normalisation it was trained with",
        expected="a VisionFM, RETFound, DINOv2 or DINOv3 file, or a timm name",
        found=layout.title,
        do="set the encoder's `statistics` (--statistics): modality, imagenet, or its own mean and std, such as "
        "{mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]} (--statistics 0.5,0.5,0.5/0.5,0.5,0.5)",
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
