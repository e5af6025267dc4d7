"""What a decoder of patch tokens is, apart from its numbers: the metadata of its file."""

from dataclasses import dataclass
from typing import ClassVar

from visionfm.tasks.decoder_file import DecoderSpec
from visionfm.tasks.maps.settings import DenseTarget


@dataclass(frozen=True)
class DenseSpec(DecoderSpec):
    """See the module."""

    SCHEMA: ClassVar[str] = "visionfm/dense-decoder/1"
    WHAT: ClassVar[str] = "decoder of masks or points"
    TARGET: ClassVar[type[DenseTarget]] = DenseTarget

    kind: str
    targets: dict[str, DenseTarget]
    modalities: list[str]
    head: str
    size: int  # px of the square input
    patch: int
    width: int  # D
    outputs: int  # K
    target_width: float
    tile_overlap: float | None
    swaps: list[list[str]]
    threshold: float = 0.5  # of two classes: where the second begins; decoders from before it was chosen do not say it
