"""Where a dense decoder's tokens come from: the cache where it holds them, else the encoder, with equal bits on a CPU.

Encoders are loaded when a first image needs one, so that training from the cache never runs them.
Shapes: B batch, S px of the square input, L levels, P patches, D width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from visionfm.encoders.file import EncoderFile, InputStatistics, read_encoder_file
from visionfm.errors import DataError
from visionfm.features.settings import TokenReading
from visionfm.features.token_cache import DenseStore, Tokens
from visionfm.images.transforms import flip

if TYPE_CHECKING:
    from visionfm.features.token_encode import TokenEncoder


class Wanted(NamedTuple):
    """One image in one view; `path` is None where the image is of no cache (augmented, or a tile)."""

    dataset: str
    path: str | None
    view: str
    image_SSC: npt.NDArray[np.uint8]  # not flipped yet


class TokenSource:
    """Tokens of a task's images."""

    def __init__(
        self,
        encoders: Mapping[str, Path],
        readings: Mapping[str, TokenReading],
        size: int,
        device: str,
        store: DenseStore | None = None,
    ) -> None:
        """`encoders` and `readings` are by dataset; DataError where encoders of different shape meet."""
        self.facts: dict[str, EncoderFile] = {}
        by_file: dict[Path, EncoderFile] = {}
        for dataset, path in encoders.items():
            self.facts[dataset] = by_file.setdefault(path, read_encoder_file(path))
        shapes = {dataset: (facts.patch, facts.token_shape[1]) for dataset, facts in self.facts.items()}
        if len(set(shapes.values())) > 1:
            raise DataError(
                "the encoders of these datasets give tokens of different shapes",
                expected="one patch size and one width",
                found=", ".join(f"{name}: patch {patch}, width {width}" for name, (patch, width) in shapes.items()),
                do="use encoders of one architecture",
            )
        self.size, self.device, self.store = size, device, store
        self._paths, self._readings = dict(encoders), dict(readings)
        self._encoders: dict[tuple[Path, str, str, str | None], TokenEncoder] = {}
        self.computed = 0  # images that went through an encoder

    @property
    def shape(self) -> tuple[int, int]:
        """Patch size in px and width D, the same for all."""
        facts = next(iter(self.facts.values()))
        return facts.patch, facts.token_shape[1]

    def statistics(self, dataset: str) -> InputStatistics:
        """Return what normalises a dataset's images."""
        return self.facts[dataset].statistics(self._readings[dataset].modality)

    def tokens(self, wanted: Sequence[Wanted]) -> Tokens:
        """Return patches_BLPD, float32."""
        rows: list[Tokens | None] = [self._cached(one) for one in wanted]
        for dataset in dict.fromkeys(one.dataset for one, row in zip(wanted, rows, strict=True) if row is None):
            at = [i for i, row in enumerate(rows) if row is None and wanted[i].dataset == dataset]
            images_BHWC = np.stack([flip(wanted[i].image_SSC, wanted[i].view) for i in at])
            for i, row in zip(at, self._encoder(dataset)(images_BHWC), strict=True):
                rows[i] = row
            self.computed += len(at)
        return np.stack([row for row in rows if row is not None]).astype(np.float32)

    def _cached(self, one: Wanted) -> Tokens | None:
        if self.store is None or one.path is None or self.store.streamed(one.dataset):
            return None
        if not self.store.has_views(one.dataset, [one.view]):
            return None
        return self.store.tokens(one.dataset, one.path, one.view)

    def _encoder(self, dataset: str) -> "TokenEncoder":
        import torch

        from visionfm.features.token_encode import TokenEncoder

        path, reading = self._paths[dataset], self._readings[dataset]
        key = (path, reading.precision, reading.dtype, reading.modality)
        if key not in self._encoders:
            self._encoders[key] = TokenEncoder(path, self.size, reading, torch.device(self.device))
        return self._encoders[key]
