"""Running the encoder for patch tokens: a dataset's missing rows, or single images in a training loop.

Imports torch inside functions. Invariant: on a CPU a row's bits depend on the image and the encoder alone, since
batches have one shape; so tokens computed in a loop are those that a cache would have held.
Shapes: B rows of a batch, H/W px, L levels, P patches, D width.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visionfm.errors import DataError
from visionfm.features import encode
from visionfm.features.settings import DenseSettings, TokenReading
from visionfm.features.token_cache import Tokens
from visionfm.features.token_parts import TokenParts
from visionfm.images.batches import Batch, BatchReading
from visionfm.images.settings import EncoderReading
from visionfm.runtime.interruption import StopFlag
from visionfm.runtime.processes import choose_device, decoding_processes

if TYPE_CHECKING:
    from visionfm.encoders.vit import Encoder

GPU_ROWS = 16
log = logging.getLogger("visionfm")


class TokenEncoder:
    """An encoder that turns square images into patch tokens of a cache's type, a fixed number at a time."""

    def __init__(self, path: Path, size: int, reading: TokenReading, device: Any) -> None:
        """`path` is encoder.safetensors, `size` the side of the input in px."""
        self.encoder: Encoder = encode.load(path, size, reading.precision, device, reading.modality)
        self.device, self.dtype = device, reading.dtype
        self.rows = GPU_ROWS if device.type == "cuda" else encode.cpu_rows(self.encoder, size)

    def __call__(self, images_BHWC: npt.NDArray[np.uint8]) -> Tokens:
        """Return patches_BLPD of uint8 images; DataError unless all are finite."""
        import torch

        parts = []
        for start in range(0, len(images_BHWC), self.rows):
            chunk = images_BHWC[start : start + self.rows]
            filled = np.concatenate([chunk, np.repeat(chunk[-1:], self.rows - len(chunk), axis=0)])
            images_BCHW = torch.from_numpy(filled).permute(0, 3, 1, 2).contiguous().to(self.device)
            patches_BLPD = self.encoder.patch_tokens(images_BCHW).float().cpu().numpy()[: len(chunk)]
            with np.errstate(over="ignore"):
                parts.append(patches_BLPD.astype(self.dtype))
        tokens = np.concatenate(parts)
        if not np.isfinite(tokens).all():
            raise DataError(
                "patch tokens are not finite",
                expected=f"numbers that {self.dtype} can hold",
                found="NaN, infinity or an overflow",
                do="set `cache: float32` on the encoder, or check its weights",
            )
        return tokens


def encode_images(
    images: Sequence[tuple[str, str]],
    views: tuple[str, ...],
    root: Path,
    encoder_path: Path,
    settings: DenseSettings,
    parts: TokenParts,
    stop: StopFlag,
) -> None:
    """Encode (path, image_id) images into `parts`, published now and then; Stopped after a signal."""
    device = choose_device(settings.device, settings.gpu, 0)
    encoder = TokenEncoder(encoder_path, settings.size, settings, device)
    workers = decoding_processes(settings.workers, device)
    reading = BatchReading(root, settings.size, encoder.rows, EncoderReading.of(settings))

    def encoded(decoded: Iterator[encode.Decoded]) -> Iterator[tuple[Batch, Tokens]]:
        for batch, images_BHWC in decoded:
            try:
                yield batch, encoder(images_BHWC[: len(batch.images) * len(views)])
            except DataError:
                log.error("in one of: %s", ", ".join(path for path, _ in batch.images))
                raise

    for batch, patches_BLPD, stopping in encode.steps_of(images, views, reading, workers, stop, encoded, "dense"):
        for row, patches_LPD in enumerate(patches_BLPD):
            parts.add(batch.images[row // len(views)][1], views[row % len(views)], patches_LPD)
        if parts.full() or stopping:
            parts.publish()
