"""What the archives of a segmentation's run hold: masks, and probability maps of 16 bits (65535 for 1), by name.

Shapes: H/W px of the upright image.
"""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from visionfm.data.columns import DenseSample

Probability = npt.NDArray[np.uint16]


def mask_names(samples: Sequence[DenseSample]) -> dict[str, str]:
    """Return sample_id -> `{dataset}/{path}.png`; images whose names differ by suffix alone keep their suffix."""
    plain = {s.sample_id: f"{s.dataset}/{PurePosixPath(s.path).with_suffix('.png')}" for s in samples}
    count = Counter(plain.values())
    return {
        s.sample_id: plain[s.sample_id] if count[plain[s.sample_id]] == 1 else f"{s.dataset}/{s.path}.png"
        for s in samples
    }


def map_names(mask: str, classes: int) -> dict[int, str]:
    """Return class index -> name of its probability map: of two classes the second alone, under the mask's name."""
    if classes <= 2:
        return {1: mask}
    return {index: f"{mask.removesuffix('.png')}.{index}.png" for index in range(classes)}


def encode_map(p_HW: npt.NDArray[np.float64]) -> bytes:
    """Return a PNG of probabilities in [0, 1]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.round(p_HW * 65535).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


def read_map(data: bytes) -> Probability:
    """Return the probabilities of such a PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        found: Probability = np.asarray(image).astype(np.uint16)
    return found
