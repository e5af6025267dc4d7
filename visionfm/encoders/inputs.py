"""What users may hand to an encoder, made into uint8 batches the same way the pipeline does it.

Paths are decoded and everything that is not yet square is resized with the encoder's interpolation. Invariant: a batch
keeps the order of the images. B batch, C channels, H/W px.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from visionfm.errors import DataError
from visionfm.images import pixels, transforms
from visionfm.images.reading import decode
from visionfm.images.settings import Reading
from visionfm.images.transforms import Interpolation

One = str | Path | Image.Image | np.ndarray | torch.Tensor
Images = One | Sequence[One]


def batches(images: Images, image_size: int, interpolation: Interpolation, batch: int) -> Iterator[torch.Tensor]:
    """Yield (B, 3, S, S) tensors of at most `batch` images: uint8, or float in [0, 1] where such were given."""
    items = _listed(images)
    if not items:
        raise DataError("no images", expected="at least one", found="an empty list")
    for start in range(0, len(items), batch):
        chosen = [
            one(item, image_size, interpolation, start + at) for at, item in enumerate(items[start : start + batch])
        ]
        if len({image.dtype for image in chosen}) > 1:
            raise DataError("images of mixed types", expected="uint8 images or float tensors", found="both in one list")
        yield torch.stack(chosen)


def _listed(images: Images) -> list[Any]:
    if isinstance(images, torch.Tensor | np.ndarray) and images.ndim == 4:
        return list(images)
    return list(images) if isinstance(images, list | tuple) else [images]


def one(image: One, image_size: int, interpolation: Interpolation, number: int = 0) -> torch.Tensor:
    """Return one image as (3, S, S) tensor; `number` says which, in errors."""
    if isinstance(image, torch.Tensor):
        if image.is_floating_point():
            return _float_tensor(image, image_size, number)
        image = image.cpu().movedim(0, -1).numpy() if image.ndim == 3 else image.cpu().numpy()
    if isinstance(image, str | Path):
        image = _decoded(Path(image))
    elif isinstance(image, Image.Image):
        image = _from_pil(image, number)
    image_HWC = _checked(image, number)
    if image_HWC.shape[:2] != (image_size, image_size):
        image_HWC = transforms.resize_square(image_HWC, image_size, interpolation)
    return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))


def _decoded(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError("an image is missing", expected="an image file", where=path, do="correct the path")
    return decode(path.read_bytes(), Reading(), target_px=None, exact=True, where=path)


def _from_pil(image: Image.Image, number: int) -> np.ndarray:
    reason = pixels.unsupported(image)
    if reason is not None:
        raise _bad(number, "8-bit or 16-bit grey, RGB, RGBA, palette or CMYK", reason)
    image.load()
    return pixels.oriented(pixels.to_rgb(image), pixels.orientation(image))


def _checked(image: Any, number: int) -> pixels.Pixels:
    if not isinstance(image, np.ndarray):
        raise _bad(number, "a path, a PIL image, a uint8 array or a tensor", type(image).__name__)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise _bad(number, "uint8 (H, W, 3)", f"{image.dtype} {image.shape}")
    checked: pixels.Pixels = image
    return checked


def _float_tensor(image: torch.Tensor, image_size: int, number: int) -> torch.Tensor:
    """Check a float image: it is not resized, as that is defined on uint8."""
    if tuple(image.shape) != (3, image_size, image_size):
        raise _bad(number, f"a float tensor of shape (3, {image_size}, {image_size})", tuple(image.shape))
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1 or low != low:  # NaN is unequal to itself
        raise _bad(number, "values in [0, 1], before any normalisation", f"{low:.3g} to {high:.3g}")
    return image.float().cpu()


def _bad(number: int, expected: str, found: object) -> DataError:
    return DataError(
        f"image {number} cannot be used", expected=expected, found=found, do="convert it, or give its path"
    )
