"""DICOM: photographs and tomograms of 8 to 16 bits, single or multi-frame, in any usual transfer syntax.

Pixels are what the standard says that a viewer shows (PS3.3 C.7.6.3, C.11.1, C.11.2): modality LUT, then the first VOI
LUT or window, else all bits stored; MONOCHROME1 inverted, palettes and YBR as RGB. pydicom parses; one decoder is named
for each transfer syntax, so that equal bytes give equal pixels whatever else is installed. Nothing that a file says of
a person enters a message.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright, blamed
from visionfm.images.pixels import Pixels, eight_bits

MARK, MARK_AT = b"DICM", 128
MOST_FRAMES = 100_000  # a file that claims more is as good as endless
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_JPEG = "1.2.840.10008.1.2.4."
_DECODERS = {  # transfer syntax: pydicom's name of the library that decodes it
    **dict.fromkeys(_UNCOMPRESSED, ""),
    _JPEG + "50": "pillow",
    **dict.fromkeys((_JPEG + end for end in ("51", "57", "70", "80", "81")), "gdcm"),  # 12 bits, lossless, JPEG-LS
    **dict.fromkeys((_JPEG + end for end in ("90", "91", "201", "202", "203")), "pylibjpeg"),  # JPEG 2000
    "1.2.840.10008.1.2.5": "pydicom",  # run lengths
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SIDES = ("ImageLaterality", "Laterality", "FrameLaterality")  # of photographs, of series, of frames
_GROUPS = {  # keyword: the functional group that holds it in a multi-frame file
    "FrameLaterality": "FrameAnatomySequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
}


class _Dicom(Opened):
    """A file, parsed; pixels are decoded a frame at a time."""

    def __init__(self, data: bytes) -> None:
        """Parse the header."""
        self.frame = 0
        self.stored: npt.NDArray[Any] | None = None
        with blamed("DICOM"):
            self.dataset = _parsed(io.BytesIO(data))
            self._check_header()
            self.frames = max(1, min(int(self.dataset.get("NumberOfFrames") or 1), MOST_FRAMES))
            self._check_length()

    def header(self) -> Header:
        """Return size and mode, as Pillow would name it."""
        with blamed("DICOM"):
            depth = "I;16" if self.bits > 8 else "L"
            mode = "P" if self.photometric == "PALETTE COLOR" else depth if self.photometric in _GREY else "RGB"
            return Header(int(self.dataset.Columns), int(self.dataset.Rows), mode)

    def seek(self, frame: int) -> None:
        """Choose a frame."""
        self.frame, self.stored = frame, None

    def load(self, shrink_to_px: int | None) -> Upright:
        """Decode the chosen frame."""
        from pydicom.pixels import get_decoder

        syntax = self.dataset.file_meta.TransferSyntaxUID
        with blamed("DICOM"):
            decoder = get_decoder(syntax)
            self.stored, _ = decoder.as_array(self.dataset, index=self.frame, decoding_plugin=_DECODERS[syntax])
        rows, columns = self.stored.shape[:2]
        if (rows, columns) != (self.dataset.Rows, self.dataset.Columns):
            raise Refused("unreadable", "DICOM, its frames have another size than its header says")
        return Upright(columns, rows, 1)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the loaded frame; where the reading says its `bits`, these are its range, and no window counts."""
        assert self.stored is not None, "load comes first"
        with blamed("DICOM"):
            if self.photometric in _GREY:
                return np.repeat(self._grey(self.stored, bits)[:, :, None], 3, axis=2)
            if self.photometric == "PALETTE COLOR":
                from pydicom.pixels import apply_color_lut

                colours_HWC = apply_color_lut(self.stored, self.dataset)[..., :3]
                return eight_bits(colours_HWC, 8 * colours_HWC.dtype.itemsize)
            return eight_bits(self.stored, self.bits)

    def note(self) -> str | None:
        """Tell of text that was burned into the pixels."""
        with blamed("DICOM"):
            burned_in = str(self.dataset.get("BurnedInAnnotation", "")).upper() == "YES"
        if not burned_in:
            return None
        return "burned-in annotation: text in its pixels may name a person"

    @property
    def photometric(self) -> str:
        """What the stored values mean."""
        return str(self.dataset.PhotometricInterpretation)

    @property
    def bits(self) -> int:
        """Bits that a stored value uses."""
        return int(self.dataset.BitsStored)

    def _check_header(self) -> None:
        """Refuse what is no image, and what has no certain meaning as eight bits."""
        dataset = self.dataset
        if "Rows" not in dataset or "Columns" not in dataset:
            name = _static(getattr(dataset.get("SOPClassUID"), "name", ""))
            if "Image Storage" in name:
                raise Refused("truncated", f"DICOM, {name} without a size")
            raise Refused("not_an_image", f"DICOM without an image, of the class {name}")
        if "PixelData" not in dataset:
            if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
                raise Refused("unsupported_mode", "DICOM, floating-point pixels")
            raise Refused("truncated", "DICOM, its header tells of an image and no pixels follow")
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax not in _DECODERS:
            raise Refused("unsupported_mode", f"DICOM, transfer syntax {_static(getattr(syntax, 'name', 'missing'))}")
        if self.photometric not in (*_GREY, *_COLOURS, "PALETTE COLOR"):
            raise Refused("unsupported_mode", f"DICOM, photometric interpretation {_static(self.photometric)}")
        if dataset.BitsAllocated not in (1, 8, 16) or not 1 <= self.bits <= dataset.BitsAllocated:
            raise Refused("unsupported_mode", f"DICOM, {self.bits} of {int(dataset.BitsAllocated)} bits")
        if int(dataset.SamplesPerPixel) != (3 if self.photometric in _COLOURS else 1):
            raise Refused("unreadable", "DICOM, its samples per pixel do not fit its photometric interpretation")

    def _check_length(self) -> None:
        """Refuse a file with fewer pixels than its header says."""
        dataset = self.dataset
        if dataset.file_meta.TransferSyntaxUID not in _UNCOMPRESSED:
            return
        samples = 2 if self.photometric == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
        bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated) * self.frames
        if len(dataset.PixelData) < -(-bits // 8):
            raise Refused("truncated", f"DICOM, {len(dataset.PixelData)} bytes of pixels, {-(-bits // 8)} promised")

    def _grey(self, stored_HW: npt.NDArray[Any], bits: int | None) -> Pixels:
        """Look each stored value up in a table of all, which is made as a viewer would."""
        signed = int(self.dataset.get("PixelRepresentation", 0)) == 1
        low, high = (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1) if signed else (0, 2**self.bits - 1)
        values_HW = _used_bits(stored_HW.astype(np.int64), self.bits, signed=signed)
        if bits is not None and self.bits > 8:
            if (brightest := int(values_HW.max())) >= 2**bits:
                raise Refused("too_bright", f"DICOM, a pixel of {brightest}, over {2**bits - 1}")
            share_V = np.clip(np.arange(low, high + 1), 0, None) / (2**bits - 1)
        else:
            share_V = self._shown(np.arange(low, high + 1))
        table_V = np.floor(np.clip(share_V, 0, 1) * 255 + 0.5).astype(np.uint8)
        if self.photometric == "MONOCHROME1":
            table_V = 255 - table_V
        shown_HW: Pixels = table_V[values_HW - low]
        return shown_HW

    def _shown(self, stored_V: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return how bright each stored value is shown, as a share of the display's range (it may lie outside 0..1)."""
        from pydicom.pixels import apply_modality_lut, apply_voi

        modality, window = self._item("PixelValueTransformationSequence"), self._item("FrameVOILUTSequence")
        values_V = stored_V.astype(np.float64)
        if modality.get("ModalityLUTSequence"):
            values_V = apply_modality_lut(stored_V, modality).astype(np.float64)
            low, high = 0.0, 2.0 ** int(modality.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
        else:
            slope, intercept = (modality.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
            if slope is not None and intercept is not None and float(slope) != 0:
                values_V = values_V * float(slope) + float(intercept)
            low, high = float(values_V.min()), float(values_V.max())
        if window.get("VOILUTSequence"):
            bits = int(window.VOILUTSequence[0].LUTDescriptor[2])
            return np.asarray(apply_voi(np.rint(values_V).astype(np.int64), window) / (2.0**bits - 1), np.float64)
        centre, width = (_first(window.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if centre is None or width is None:
            return (values_V - low) / (high - low) if high > low else values_V * 0
        return _windowed(values_V, centre, width, str(window.get("VOILUTFunction") or "LINEAR").upper())

    def _item(self, name: str) -> Any:
        """Return what holds a functional group's values for the chosen frame: its own, that of all, or the file."""
        return _group(self.dataset, name, self.frame) or self.dataset


def _windowed(values_V: npt.NDArray[np.float64], centre: float, width: float, function: str) -> npt.NDArray[np.float64]:
    """Return the share of the display's range that a window gives (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if width < 1 if function == "LINEAR" else width <= 0:
        raise Refused("unreadable", f"DICOM, a window of width {width:g}")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values_V - centre) / width)), np.float64)
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise Refused("unsupported_mode", "DICOM, a VOI LUT function that the standard does not know")
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values_V > centre).astype(np.float64)
    return (values_V - centre) / width + 0.5


def _used_bits(values: npt.NDArray[np.int64], bits: int, *, signed: bool) -> npt.NDArray[np.int64]:
    """Return the lowest `bits` of each value: others may hold overlays."""
    plain = values & (2**bits - 1)
    negative = signed & (plain >= 2 ** (bits - 1))
    return np.asarray(plain - 2**bits * negative, np.int64)


def _first(value: Any) -> float | None:
    """Return the first of a value's numbers: a file may offer several windows."""
    if value is None or value == "":
        return None
    return float(value[0]) if _is_several(value) else float(value)


def _is_several(value: Any) -> bool:
    """Tell whether an element holds several values."""
    return isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"


def _group(dataset: Any, name: str, frame: int) -> Any:
    """Return a functional group of a frame; None where the file has none."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*own[frame : frame + 1], *shared[:1]):
        if groups.get(name):
            return groups[name][0]
    return None


def _parsed(source: Any, *, pixels: bool = True) -> Any:
    import pydicom

    return pydicom.dcmread(source, stop_before_pixels=not pixels)


def _static(text: str) -> str:
    """Return a name of the standard for a message; a file's own text stays out of it."""
    from pydicom.uid import UID_dictionary

    known = {entry[0] for entry in UID_dictionary.values()} | {"HSV", "ARGB", "CMYK", "YBR_PARTIAL_420"}
    return text if text in known else "unknown"


def read_header(path: Path) -> Mapping[str, str]:
    """Return what a DICOM file says before its pixels, by the standard's keywords, as text; Refused for a damaged one.

    Dates are written as in ISO, ages in years. The eye stands in one of three places: each of their names gives it.
    What tables have too also stands under the names `eye`, `subject` and `visit`.
    """
    found: dict[str, str] = {}
    with blamed("DICOM"):
        dataset = _parsed(path, pixels=False)
        for keyword in dataset.dir():
            try:
                element = dataset[keyword]
            except NotImplementedError:  # one element of a type that the standard does not know
                continue
            if element.VR not in ("SQ", "OB", "OW", "OF", "OD", "UN"):
                found[keyword] = _text(element)
        for keyword, group in _GROUPS.items():
            item = _group(dataset, group, 0)
            if item is not None and keyword in item:
                found.setdefault(keyword, _text(item[keyword]))
    side = next((found[name] for name in _SIDES if found.get(name)), "")
    roles = {"eye": side, "subject": found.get("PatientID", ""), "visit": found.get("StudyDate", "")}
    return {**found, **({name: found.get(name) or side for name in _SIDES} if side else {}), **roles}


def _text(element: Any) -> str:
    value = element.value
    if value is None:
        return ""
    text = "\\".join(map(str, value)) if _is_several(value) else str(value)
    text = text.strip()
    if element.VR == "DA" and len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if element.VR == "AS" and text[:-1].isdigit() and text.endswith("Y"):
        return str(int(text[:-1]))
    return text


DICOM = Container(
    "DICOM",
    (".dcm", ".dicom"),
    lambda data: data[MARK_AT : MARK_AT + len(MARK)] == MARK,
    _Dicom,
    needs=("pydicom", "gdcm", "pylibjpeg", "openjpeg"),
    extra="dicom",
    guarded=True,
    header=read_header,
)
