"""What a decoder of feature vectors is, apart from its numbers: the metadata of its file."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from visionfm import artifacts
from visionfm.tasks.decoder_file import DecoderSpec, is_own
from visionfm.tasks.settings import TargetSpec

ATTENTIVE, TOKENS = "attentive", "tokens"  # the head on patch tokens, and what its features are called
NAMED, HELD = "neighbours", "rows_NF"  # tensors of a k-NN decoder's file: its training samples; it has one of them


def caches_of(decoder: Path) -> list[Path]:
    """Return the caches that a k-NN decoder answers by; none of all others."""
    named = artifacts.read_tensors(decoder)[0].get(NAMED) if is_own(decoder) else None
    caches = {} if named is None else json.loads(named.tobytes())["caches"]
    return [located(decoder, name) for names in caches.values() for name in names]


def located(decoder: Path, cache: str) -> Path:
    """Return where a cache lies that a decoder names from its own folder."""
    return Path(os.path.normpath(decoder.absolute().parent / cache))


@dataclass(frozen=True)
class Spec(DecoderSpec):
    """See the module; `features` is None where a published file does not say."""

    SCHEMA: ClassVar[str] = "visionfm/decoder/1"
    WHAT: ClassVar[str] = "decoder of feature vectors"
    TARGET: ClassVar[type[TargetSpec]] = TargetSpec

    kind: str
    targets: dict[str, TargetSpec]
    modalities: list[str]
    fusion: str
    head: str
    features: str | None
    widths: list[int]  # F of each modality's stream
    visits: int = 1  # progression: the baseline, and at most so many less one before it
    tokens: list[int] = field(default_factory=list)  # levels, patches, width of what an attentive head reads
    slices: str = "mean"  # how a sample's images of one modality become one vector
    calibrate: str = "none"  # how its probabilities are mapped (calibration.py)

    def _plain(self) -> dict[str, Any]:
        plain = super()._plain()
        usual = {"visits": 1, "calibrate": "none", "tokens": [], "slices": "mean"}
        return {name: value for name, value in plain.items() if value != usual.get(name)}
