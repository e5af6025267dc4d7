"""Masks of classes: read strictly, as the indices that the file stores, and turned with their image.

A mask has one channel, of 1, 8 or 16 bits, or three that are the same; a palette is read by index, never through its
colours. Lossy formats are refused, for they blur the borders of classes. A mask lies in the frame of its image's
stored pixels and follows it through its EXIF rotation; one with an orientation of its own is turned by that instead.
Masks of a volume are a file, or a folder, of as many slices: `Slice` is one of them, and the file is opened once.
Shapes: H/W px, upright.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from visionfm.errors import DataError
from visionfm.images.pixels import oriented
from visionfm.images.reading import StoredFile
from visionfm.images.regular import NotRegular, read_regular

Classes = npt.NDArray[np.uint8]  # (H, W) class indices
Values = npt.NDArray[np.uint16]  # (H, W) pixel values as stored
MOST_CLASSES = 255
_MAX_MEGAPIXELS = 1000.0
_EXIF_ORIENTATION, _TIFF_BITS, _TIFF_PHOTOMETRIC = 274, 258, 262
DO = "save it as a PNG with one channel, whose values are the classes"


class MaskFacts(NamedTuple):
    """What a mask file holds: its upright size, and the values that occur, ascending."""

    width: int
    height: int
    values: list[int]


class Slice(NamedTuple):
    """The mask of one slice of a volume: the opened file of them all, and which it is (from 0)."""

    file: StoredFile
    number: int


def mask_values(mask: bytes | Slice, orientation: int, where: str) -> Values:
    """Return a mask's stored values, upright; `orientation` is its image's. DataError names `where`."""
    file, frame = mask if isinstance(mask, Slice) else (StoredFile(mask, where), None)
    image, container, own, data = file.read(frame, _MAX_MEGAPIXELS)
    name = container.name
    if container.lossy:
        raise _refused(f"a {name}, a lossy format", where)
    stored = _grey(image)
    if problem := _not_indices(stored, name):
        raise _refused(problem, where)
    values_HW = np.asarray(stored).astype(np.uint16)
    if name == "PNG" and image.mode == "L":
        values_HW //= _png_step(data)
    # Of a TIFF with a tag that turns it, the decoder has done so; writers of TIFF put a tag 1 everywhere.
    tagged = own != 1 or (name == "PNG" and image.getexif().get(_EXIF_ORIENTATION) == 1)
    turn = 1 if name == "TIFF" and tagged else own if tagged else orientation
    return oriented(values_HW[:, :, None], turn)[:, :, 0]  # type: ignore[arg-type, return-value]


def _grey(image: Image.Image) -> Image.Image:
    """Return one channel of three that are the same, as drawing programs save grey; any other image as it is."""
    if image.mode != "RGB":
        return image
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


def _not_indices(image: Image.Image, name: str) -> str | None:
    """Return why an image's numbers are no class indices, or None."""
    channels = len(image.getbands())
    if channels > 1:
        return f"{channels} channels ({image.mode})"
    if image.mode not in ("1", "L", "P", "I;16", "I;16B", "I;16L") and not (image.mode == "I" and name == "PNG"):
        return f"pixels of mode {image.mode}"
    if isinstance(image, TiffImageFile):
        bits = int(image.tag_v2.get(_TIFF_BITS, (1,))[0])
        if bits not in (1, 8, 16):
            return f"a TIFF of {bits} bits"
        if image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
            return "a TIFF in which white is zero"
    return None


def _png_step(data: bytes) -> int:
    """Return by how much the decoder stretched a grey PNG of 2 or 4 bits: to the range of 8."""
    depth = data[24]
    return {2: 85, 4: 17}.get(depth, 1)


def _refused(found: str, where: str) -> DataError:
    return DataError("a mask cannot be used", expected="one channel of class indices", found=found, where=where, do=DO)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except NotRegular as error:
        raise _refused(str(error.strerror), str(path)) from error


def inspect_mask(mask: bytes | Slice, orientation: int, where: str) -> MaskFacts:
    """Return what a mask holds; DataError where it is none."""
    values_HW = mask_values(mask, orientation, where)
    values, height, width = np.unique(values_HW).tolist(), *values_HW.shape
    return MaskFacts(width, height, values)


def read_mask(
    source: Path | bytes | Slice, values: Sequence[Sequence[int]], *, orientation: int = 1, where: str = "mask"
) -> Classes:
    """Return class indices (H, W), upright; `values[i]` are the pixel values that mean class i.

    Raises DataError for a file that is no mask, and for values outside the classes.
    """
    data, where = (_read(source), str(source)) if isinstance(source, Path) else (source, where)
    return as_classes(mask_values(data, orientation, where), values, where)


def as_classes(values_HW: Values, values: Sequence[Sequence[int]], where: str) -> Classes:
    """Return the class indices (H, W) of stored values; DataError for values outside the classes."""
    index_V = np.full(1 << 16, MOST_CLASSES, np.uint8)
    for index, of_class in enumerate(values):
        index_V[list(of_class)] = index
    classes_HW: Classes = index_V[values_HW]
    if (strange := classes_HW == MOST_CLASSES).any():
        raise DataError(
            "a mask has values outside the classes",
            expected=", ".join(str(value) for of_class in values for value in of_class),
            found=", ".join(map(str, np.unique(values_HW[strange])[:8])),
            where=where,
            do="correct the mask, or the target's `classes`",
        )
    return classes_HW


def compose(parts: Sequence[tuple[int, bytes | Slice, str]], shape_HW: tuple[int, int], orientation: int) -> Values:
    """Return one mask (H, W) of a file for each structure: a structure's value where its file is not 0, else 0.

    `parts` are (value, bytes, name for messages); where structures overlap, the later one covers. Without any part all
    is 0. DataError where a file is no mask, or has not the shape.
    """
    values_HW: Values = np.zeros(shape_HW, np.uint16)
    for value, data, where in parts:
        own_HW = mask_values(data, orientation, where)
        if own_HW.shape != shape_HW:
            expected, found = (f"{width} x {height} pixels, upright" for height, width in (shape_HW, own_HW.shape))
            raise DataError("a mask has not its image's size", expected=expected, found=found, where=where, do=DO)
        values_HW[own_HW > 0] = value
    return values_HW


def read_fov(
    source: Path | bytes | Slice, *, orientation: int = 1, where: str = "field of view"
) -> npt.NDArray[np.bool_]:
    """Return where the field of view is (H, W), upright: everywhere but at 0."""
    data, where = (_read(source), str(source)) if isinstance(source, Path) else (source, where)
    return mask_values(data, orientation, where) > 0


def encode_mask(classes_HW: Classes, values: Sequence[Sequence[int]], *, orientation: int = 1) -> bytes:
    """Return a PNG of an upright map of class indices; pixel values are the first of each class.

    Of an image with an EXIF rotation it says that it is upright itself, so that it reads back rightly.
    """
    first = [of_class[0] for of_class in values]
    lookup = np.array(first, np.uint8 if max(first) < 256 else np.uint16)
    file = io.BytesIO()
    options = {}
    if orientation != 1:
        exif = Image.Exif()
        exif[_EXIF_ORIENTATION] = 1
        options["exif"] = exif
    Image.fromarray(lookup[classes_HW]).save(file, "PNG", **options)
    return file.getvalue()
