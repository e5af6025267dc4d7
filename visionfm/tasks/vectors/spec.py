"""What a decoder of feature vectors is, apart from its numbers: the metadata of its file."""

from dataclasses import dataclass
from typing import Any, ClassVar

from visionfm.tasks.decoder_file import DecoderSpec
from visionfm.tasks.settings import TargetSpec


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

    def _plain(self) -> dict[str, Any]:
        plain = super()._plain()
        return plain if self.visits > 1 else {name: value for name, value in plain.items() if name != "visits"}
