"""From an image as Pillow loaded it to uint8 RGB, by the meaning of its mode; pure functions.

16-bit grey is scaled over its full range, alpha is composited on black, the EXIF orientation is applied once. A mode
that has no certain meaning as eight bits (floats, 32-bit integers, LAB) is unsupported. Shapes: H/W px, C = 3 (RGB).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

Pixels = npt.NDArray[np.uint8]

_FLAT_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_TIFF_BITS, _TIFF_PHOTOMETRIC, _EXIF_ORIENTATION = 258, 262, 274


def unsupported(image: Image.Image) -> str | None:
    """Return None when the image's mode can be converted, else what it is."""
    if image.mode in _FLAT_MODES | _ALPHA_MODES or is_16_bit_grey(image):
        return None
    meaning = {"F": "floating-point", "I": "32-bit or signed integer"}
    return f"{meaning.get(image.mode, image.mode)} pixels"


def too_bright(image: Image.Image, bits: int | None) -> str | None:
    """Return the brightest pixel of a 16-bit image where it does not fit in `bits`, else None."""
    if bits is None or not is_16_bit_grey(image):
        return None
    brightest = int(np.asarray(image).max())
    return None if brightest < 2**bits else f"a pixel of {brightest}, over {2**bits - 1}"


def is_16_bit_grey(image: Image.Image) -> bool:
    """Tell whether a pixel is one grey value of sixteen bits."""
    return image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    )  # I: older Pillow's PNG


def to_rgb(image: Image.Image, bits: int | None = None) -> Pixels:
    """Return uint8 (H, W, 3) in [0, 255] of a loaded image for which `unsupported` returned None.

    `bits` says how many of 16 bits grey pixels use, for which `too_bright` returned None.
    """
    if is_16_bit_grey(image):
        return np.repeat(_grey_16_to_8(image, bits)[:, :, None], 3, axis=2)
    if image.mode in _ALPHA_MODES or image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        if image.mode != "RGBa":  # premultiplied by alpha is what compositing on black means
            image = image.convert("RGBA").convert("RGBa")
        return np.array(image)[:, :, :3]
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def eight_bits(values: npt.NDArray[Any], bits: int) -> Pixels:
    """Scale the full range of `bits` to [0, 255], rounding; values above it are white."""
    full = 2**bits - 1
    scaled = (np.minimum(values.astype(np.uint32), full) * 255 + full // 2) // full
    return np.ascontiguousarray(scaled.astype(np.uint8))


def _grey_16_to_8(image: Image.Image, given: int | None) -> Pixels:
    """Scale the full range of `given`, 12 or 16 bits to [0, 255], rounding; Pillow's own conversion clips at 255."""
    grey_HW = np.asarray(image).astype(np.uint32)
    bits, inverted = 16, False
    if isinstance(image, TiffImageFile):
        bits = int(image.tag_v2.get(_TIFF_BITS, (16,))[0])
        inverted = image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0  # white is zero, which Pillow leaves as it is
    full = 2 ** (given or bits) - 1
    transparent = image.info.get("transparency")
    scaled_HW: Pixels = ((np.minimum(grey_HW, full) * 255 + full // 2) // full).astype(np.uint8)
    if isinstance(transparent, int):
        scaled_HW[grey_HW == transparent] = 0
    return 255 - scaled_HW if inverted else scaled_HW


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied, 1 to 8; loading a TIFF has applied and removed it."""
    value = image.getexif().get(_EXIF_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def oriented(image_HWC: Pixels, turn: int) -> Pixels:
    """Undo an EXIF orientation of an (H, W, C) array: 2-4 mirror or turn by 180 degrees, 5-8 also transpose."""
    if turn >= 5:
        image_HWC = image_HWC.swapaxes(0, 1)
    rows = -1 if turn in (3, 4, 7, 8) else 1
    columns = -1 if turn in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image_HWC[::rows, ::columns])
