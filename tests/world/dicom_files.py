"""DICOM files made in memory for the tests."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

PHOTOGRAPH, TOMOGRAM = UID("1.2.840.10008.5.1.4.1.1.77.1.5.1"), UID("1.2.840.10008.5.1.4.1.1.77.1.5.4")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def dataset(
    pixels: npt.NDArray[Any],
    photometric: str = "MONOCHROME2",
    *,
    syntax: UID = ExplicitVRLittleEndian,
    frames: list[bytes] | None = None,
    kind: UID = PHOTOGRAPH,
    **attributes: Any,
) -> Dataset:
    """Return a file of (H, W), (H, W, 3), or frames of these; `frames` are the pixels as compressed streams."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID, made.SOPInstanceUID = kind, UID("1.2.826.0.1.3680043.8.498.1")
    made.PatientID, made.PatientName = "MRN0012345", "Doe^Jane"
    made.SamplesPerPixel = 3 if photometric in COLOURS else 1
    sides = pixels.shape[-3:-1] if made.SamplesPerPixel == 3 else pixels.shape[-2:]
    made.Rows, made.Columns = sides
    if pixels.ndim == len(sides) + made.SamplesPerPixel // 3 + 1:
        made.NumberOfFrames = len(pixels)
    made.PhotometricInterpretation = photometric
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    if made.SamplesPerPixel == 3:
        made.PlanarConfiguration = 0
    for name, value in attributes.items():
        setattr(made, name, value)
    made.HighBit = made.BitsStored - 1
    made.PixelData = pixels.tobytes() if frames is None else encapsulate(frames)
    made["PixelData"].VR = "OB" if made.BitsAllocated <= 8 or frames is not None else "OW"
    if frames is not None:
        made["PixelData"].is_undefined_length = True
    return made


def written(made: Dataset) -> bytes:
    """Return a dataset as the bytes of a file."""
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom(pixels: npt.NDArray[Any], photometric: str = "MONOCHROME2", **options: Any) -> bytes:
    """Return a file's bytes; see `dataset`."""
    return written(dataset(pixels, photometric, **options))


def item(**attributes: Any) -> Dataset:
    """Return an item of a sequence."""
    made = Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def ramp(height: int = 24, width: int = 32, *, bits: int = 8) -> npt.NDArray[Any]:
    """Return a grey picture that uses all of its range."""
    values = np.linspace(0, 2**bits - 1, height * width).round()
    return values.reshape(height, width).astype(np.uint8 if bits <= 8 else np.uint16)
