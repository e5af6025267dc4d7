"""Task kind `classification`."""

from collections.abc import Collection, Iterable
from typing import Protocol


class Typed(Protocol):
    """A target, of the config or of a stage's settings."""

    @property
    def type(self) -> str | None:
        """Its kind of value."""


def is_single(targets: Iterable[Typed], modalities: Collection[str]) -> bool:
    """Tell the published single-modality task (one binary or multiclass target) from the multi-modality one."""
    types = [target.type for target in targets]
    return len(modalities) == 1 and len(types) == 1 and types[0] in ("binary", "multiclass")
