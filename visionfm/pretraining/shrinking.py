"""Images made smaller once and for all, and the bytes that packs keep of them: pure functions.

A shrunk image is the same whether it was made now from its file or long ago for a pack, so that training sees equal
pixels either way. H/W px, C = 3 (RGB).
"""

import numpy as np
import pyarrow as pa
from PIL import Image

from visionfm.images.pixels import Pixels

CODEC = "zstd"


def shrunk_size(width: int, height: int, short_px: int | None) -> tuple[int, int]:
    """Return (width, height) of an image whose shorter side is at most `short_px` (None: as it is)."""
    short = min(width, height)
    if short_px is None or short <= short_px:
        return width, height
    return (max(1, round(width * short_px / short)), max(1, round(height * short_px / short)))


def shrunk(image_HWC: Pixels, size: tuple[int, int]) -> Pixels:
    """Return an image at `size` (width, height), as `shrunk_size` has it."""
    if (image_HWC.shape[1], image_HWC.shape[0]) == size:
        return image_HWC
    return np.array(Image.fromarray(image_HWC).resize(size, Image.Resampling.BICUBIC))


def packed(image_HWC: Pixels) -> bytes:
    """Return an image's bytes for a pack, losslessly: rows as differences to the row above, then zstd."""
    rows_HWC = image_HWC.copy()
    rows_HWC[1:] -= image_HWC[:-1]  # modulo 256
    return bytes(pa.compress(rows_HWC.tobytes(), codec=CODEC, asbytes=True))


def unpacked(content: bytes, width: int, height: int) -> Pixels:
    """Return the pixels that `packed` was given; pyarrow's errors for bytes that are not its own."""
    raw = pa.decompress(content, decompressed_size=width * height * 3, codec=CODEC)
    rows_HWC = np.frombuffer(raw, np.uint8).reshape(height, width, 3)
    image_HWC: Pixels = np.add.accumulate(rows_HWC, axis=0, dtype=np.uint8)
    return image_HWC
