"""What an `encoder.safetensors` says of itself: the one reader of it, from its header alone and without torch.

Invariant: whoever asks for statistics names the modality of the images, so that an encoder which normalises several,
each by its own (`scheme: mix`), is read like any other.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from visionfm import artifacts
from visionfm.encoders import anatomy
from visionfm.errors import ArtifactError, DataError

SCHEMA = "visionfm/encoder/1"
TAPS = 4  # last blocks whose CLS tokens are features, as published
DENSE_BLOCKS = {12: (3, 5, 7, 11), 24: (5, 11, 17, 23)}  # depth -> 0-based blocks whose patch tokens dense heads read


class InputStatistics(NamedTuple):
    """Mean and standard deviation that normalise an input, RGB in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class EncoderFile:
    """An encoder's facts; `width` is D of its patch tokens, `depth` its number of blocks, or of stages."""

    path: Path
    metadata: Mapping[str, str]
    width: int
    depth: int

    @property
    def sha256(self) -> str:
        """The digest of what the file holds."""
        return self.metadata["payload_sha256"]

    @property
    def arch(self) -> str:
        """timm's name of the architecture."""
        return self.metadata["arch"]

    @property
    def modality(self) -> str:
        """What its images show; `any` where they may be of several modalities."""
        return self.metadata["modality"]

    @property
    def patch(self) -> int:
        """Side of a patch in px."""
        return int(self.metadata["patch"])

    @property
    def step(self) -> int:
        """What the side of an image, in px, has to divide by."""
        return self.stages.px[-1] if self.stages else self.patch

    @cached_property
    def stages(self) -> anatomy.Stages | None:
        """What is read of a network of stages; None of a column (a vision transformer)."""
        return anatomy.Stages.of(self.metadata)

    @property
    def image_size(self) -> int:
        """Side of the square input in px, unless whoever loads it asks for another."""
        return int(self.metadata["image_size"])

    @property
    def interpolation(self) -> Literal["bilinear", "bicubic"]:
        """How images are resized for it."""
        return "bicubic" if self.metadata["interpolation"] == "bicubic" else "bilinear"

    @cached_property
    def source(self) -> dict[str, Any]:
        """Where its weights came from."""
        found: dict[str, Any] = json.loads(self.metadata["source"])
        return found

    @property
    def is_mix(self) -> bool:
        """Tell whether it normalises each modality by its own statistics."""
        return "statistics" in self.metadata

    @cached_property
    def by_modality(self) -> dict[str, InputStatistics]:
        """Its statistics by modality: those of a mix, else its own under its own modality."""
        return statistics_of(self.metadata)

    def statistics(self, modality: str | None = None) -> InputStatistics:
        """Return what normalises images of a modality; DataError where it has several and none, or another, is named.

        An encoder with one pair normalises all images by it.
        """
        if not self.is_mix:
            return self.by_modality[self.modality]
        if modality not in self.by_modality:
            raise DataError(
                "the encoder normalises each modality by its own statistics, and which one is meant is not said",
                expected=", ".join(sorted(self.by_modality)),
                found=modality or "none",
                where=self.path,
                do="name the modality of the images",
            )
        return self.by_modality[modality]

    def seen_as(self, modality: str | None) -> str:
        """Return what a transform's name has for the modality whose statistics were used: nothing but of a mix."""
        return f"-{modality}" if self.is_mix and modality is not None else ""

    @property
    def vector_blocks(self) -> tuple[int, ...]:
        """The 0-based blocks whose CLS tokens are features, or stages; DataError where the encoder is too shallow."""
        if self.stages:
            return self.stages.numbers
        if self.depth < TAPS:
            raise DataError(
                f"{self.arch} is too shallow", expected=f"at least {TAPS} blocks", found=self.depth, where=self.path
            )
        return tuple(range(self.depth - TAPS, self.depth))

    @property
    def token_blocks(self) -> tuple[int, ...]:
        """The 0-based blocks whose patch tokens dense heads read, or stages; DataError where there is no rule."""
        return self.stages.numbers if self.stages else dense_blocks(self.depth, self.path)

    @property
    def vector_shape(self) -> tuple[int, int]:
        """(L, D) of `cls`: of a column the CLS tokens of four blocks, else the pooled stages in one row."""
        return (1, self.stages.vector_width) if self.stages else (len(self.vector_blocks), self.width)

    @property
    def mean_width(self) -> int:
        """D of `patch_mean`: of a network of stages its own pooled output."""
        return self.stages.pooled if self.stages else self.width

    @property
    def token_shape(self) -> tuple[int, int]:
        """(L, D) of the patch tokens that dense heads read."""
        return (anatomy.MAP_LEVELS, self.width) if self.stages else (len(self.token_blocks), self.width)


def read_encoder_file(path: str | Path) -> EncoderFile:
    """Return the facts of an encoder; ArtifactError for a damaged file and for any other artefact."""
    metadata = artifacts.read_metadata(path)
    _check_schema(metadata, path)
    check_sense(metadata, path)
    return facts_of(path, metadata, artifacts.tensor_shapes(path))


def facts_of(path: str | Path, metadata: Mapping[str, str], shapes: Mapping[str, Sequence[int]]) -> EncoderFile:
    """Return the facts of an encoder whose metadata and tensors' shapes were read already."""
    _check_schema(metadata, path)
    if (stages := _stages(metadata, path)) is not None:
        return EncoderFile(Path(path), metadata, stages.token_width, stages.numbers[-1] + 1)
    if len(shapes.get(anatomy.WIDTH_OF, ())) != 1:
        raise _senseless(path, f"no tensor {anatomy.WIDTH_OF} of one axis")
    return EncoderFile(Path(path), metadata, int(shapes[anatomy.WIDTH_OF][0]), anatomy.depth_of(shapes))


def _stages(metadata: Mapping[str, str], path: str | Path) -> anatomy.Stages | None:
    try:
        found = anatomy.Stages.of(metadata)
        if found is not None and not (found.numbers and min(*found.widths, *found.px, found.pooled) > 0):
            raise ValueError(found)
    except (LookupError, ValueError, TypeError) as error:
        raise _senseless(path, f"stages: {type(error).__name__}: {error}") from error
    return found


def _check_schema(metadata: Mapping[str, str], path: str | Path) -> None:
    found = metadata.get("schema")
    if found != SCHEMA:
        raise ArtifactError("not an encoder", expected=SCHEMA, found=found, where=path, do="run `visionfm import`")


def check_sense(metadata: Mapping[str, str], path: str | Path) -> None:
    """Raise ArtifactError unless the metadata are what `import` writes: a checksum proves no sense."""
    try:
        sizes = [int(metadata[name]) for name in ("patch", "image_size")]
        pairs = statistics_of(metadata).values()
        sensible = (
            all(type(metadata[name]) is str for name in ("arch", "modality", "interpolation"))
            and isinstance(json.loads(metadata["source"]), dict)
            and min(sizes) > 0
            and all(len(triple) == 3 and all(map(math.isfinite, triple)) for pair in pairs for triple in pair)
            and all(min(pair.std) > 0 for pair in pairs)
        )
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _senseless(path, f"{type(error).__name__}: {error}") from error
    if not sensible:
        raise _senseless(path, "values that cannot be")


def _senseless(path: str | Path, found: str) -> ArtifactError:
    return ArtifactError(
        f"{Path(path).name} holds no encoder that can be used",
        expected="tensors of an encoder, and arch, modality, interpolation, patch, image_size, source and statistics",
        found=found,
        where=path,
        do="import the weights again",
    )


def statistics_of(metadata: Mapping[str, str]) -> dict[str, InputStatistics]:
    """Return the statistics by modality that an encoder's metadata hold."""
    if "statistics" in metadata:
        several = json.loads(metadata["statistics"]).items()
        return {name: InputStatistics(tuple(one["mean"]), tuple(one["std"])) for name, one in several}
    mean, std = (tuple(json.loads(metadata[name])) for name in ("mean", "std"))
    return {metadata["modality"]: InputStatistics(mean, std)}


def dense_blocks(depth: int, where: object = None) -> tuple[int, ...]:
    """Return the 0-based blocks that dense heads read of an encoder of this depth; DataError where there is no rule."""
    if depth not in DENSE_BLOCKS:
        raise DataError(
            f"an encoder of {depth} blocks has no published choice of them for dense tasks",
            expected=f"depth {' or '.join(map(str, DENSE_BLOCKS))}",
            found=depth,
            where=where,
            do="name the blocks, or use an encoder of such a depth",
        )
    return DENSE_BLOCKS[depth]
