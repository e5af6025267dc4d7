"""Landmarks as the published layout stores them: a `.npy` array (H, W, K), one channel per landmark.

A channel's landmark lies where its value is highest: at that pixel, or in the middle of a spot of such pixels. A
channel of zeros is a landmark that the image does not have. Arrays of objects are never unpickled.
"""

import io
import math
import struct
import tokenize
import zipfile

import numpy as np

from visionfm.errors import DataError

DO = "save it with numpy.save as numbers of shape (height, width, landmarks), the highest value at the landmark"
UNREADABLE = (  # what numpy, and the parsers below it, raise on what is no array
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
_EXPECTED = "an array of numbers (height, width, landmarks)"


def read_points(
    data: bytes, names: list[str], stored_wh: tuple[int, int], where: str
) -> dict[str, tuple[float, float] | None]:
    """Return name -> (x, y) in stored pixels, None where absent; DataError for an array that says anything else."""
    array_HWK = _array(data, where)
    width, height = stored_wh
    if array_HWK.shape != (height, width, len(names)):
        raise _refused(
            f"({height}, {width}, {len(names)}) as the image has it, {', '.join(names)}", str(array_HWK.shape), where
        )
    if not np.isfinite(array_HWK).all() or (array_HWK < 0).any():
        raise _refused("finite values from 0 on", "negative or not finite ones", where)
    return {name: _highest(array_HWK[:, :, k], name, where) for k, name in enumerate(names)}


def _array(data: bytes, where: str) -> np.ndarray:
    try:
        _check_size(data)
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except UNREADABLE as error:
        said = str(error) or type(error).__name__
        found = "objects, which may run code" if "pickle" in said.lower() else said.splitlines()[0]
        raise _refused(_EXPECTED, found, where) from error
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.dtype.kind not in "buif":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
        raise _refused(_EXPECTED, found, where)
    return array


def _check_size(data: bytes) -> None:
    """Raise ValueError where an array's header claims more than follows it: numpy would ask for all that memory."""
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        return
    stream = io.BytesIO(data)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    read = readers.get(np.lib.format.read_magic(stream))
    if read is None:
        raise ValueError("a version of the format that no array of numbers needs")
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"a header of {dtype} {shape} before {len(data) - stream.tell()} bytes")


def _highest(channel_HW: np.ndarray, name: str, where: str) -> tuple[float, float] | None:
    from scipy.ndimage import label

    peak = channel_HW.max()
    if peak == 0:
        return None
    at_HW = channel_HW == peak
    if label(at_HW, structure=np.ones((3, 3)))[1] > 1:
        raise _refused(f"one place where {name} is highest", f"{int(at_HW.sum())} pixels in several places", where)
    rows, columns = np.nonzero(at_HW)
    return float(columns.mean()), float(rows.mean())


def _refused(expected: str, found: str, where: str) -> DataError:
    return DataError("an array of landmarks cannot be used", expected=expected, found=found, where=where, do=DO)
