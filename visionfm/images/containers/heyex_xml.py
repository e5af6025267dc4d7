"""Heidelberg's XML export: a file that names the pictures beside it, B-scans in order and one of the fundus.

Its digest is that of all of them, so that another picture is another volume. Nothing that it says of a person enters a
message.
"""

from collections.abc import Mapping
from math import hypot
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from visionfm.images.containers.container import Container, Refused, blamed
from visionfm.images.containers.parts import parted
from visionfm.images.containers.slices import Pictures, open_picture

MARK, MARK_WITHIN = b"<HEDX", 400  # bytes: a declaration may stand before it
Element = ElementTree.Element


class _Export(NamedTuple):
    """What an export names: its one series, the entries of B-scans in order, and that of the fundus."""

    patient: Element
    series: Element
    scans: list[Element]
    fundus: Element | None


class _Xml(Pictures):
    """An export, its pictures opened one by one."""

    def __init__(self, data: bytes) -> None:
        """Find the pictures."""
        with blamed("HEYEX XML"):
            own, self.parts = parted(data)
            export = _export(own)
            self.names = [_picture_name(scan) for scan in export.scans]
            self.fundus = None if export.fundus is None else _picture_name(export.fundus)
        missing = len([name for name in self.names if name not in self.parts])
        if missing:
            raise Refused("missing", f"HEYEX XML, {missing} of {len(self.names)} B-scans are not beside it")
        self.frames = len(self.names)
        self.seek(0)

    def seek_enface(self) -> None:
        """Choose the picture of the fundus."""
        if self.fundus not in self.parts:
            super().seek_enface()
        self.chosen = open_picture(self.parts[str(self.fundus)], str(self.fundus))


def named_beside(data: bytes) -> list[str]:
    """Return the names of the pictures that an export names, without folders; none of a file that is damaged."""
    try:
        with blamed("HEYEX XML"):
            urls = [url.text or "" for url in _root(data).iter("ExamURL")]
    except Refused:
        return []
    return sorted({url.replace("\\", "/").rpartition("/")[2] for url in urls} - {"", ".", ".."})


def read_header(path: Path) -> Mapping[str, str]:
    """Return what an export says beside its pictures; sizes in mm. Refused for a damaged one."""
    with blamed("HEYEX XML"):
        export = _export(path.read_bytes())
        context = export.scans[0].find("OphthalmicAcquisitionContext")
        across, down = (_text(context, f"./Scale{axis}") for axis in "XY")
        date = export.patient.find("./Study/StudyDate/Date")
        visit = "-".join(_text(date, part).zfill(2) for part in ("Year", "Month", "Day")) if date is not None else ""
        side, patient = _text(export.series, "Laterality"), _text(export.patient, "PatientID")
    return {
        "PatientID": patient,
        "Laterality": side,
        "StudyDate": visit,
        "PixelSpacing": f"{down}\\{across}" if across and down else "",
        "SliceDistance": _distance(export.scans),
        "eye": side if side in ("R", "L") else "",
        "subject": patient,
        "visit": visit,
    }


def _distance(scans: list[Element]) -> str:
    """Return how far apart the first two B-scans begin, in mm."""
    place = "OphthalmicAcquisitionContext/Start/Coord"
    starts = [[_text(scan, f"{place}/{axis}") for axis in "XY"] for scan in scans[:2]]
    if len(starts) < 2 or not all(starts[0] + starts[1]):
        return ""
    (left, top), (right, bottom) = ([float(side) for side in start] for start in starts)
    return f"{hypot(right - left, bottom - top):.6g}"


def _root(data: bytes) -> Element:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise Refused("unreadable", "HEYEX XML with definitions of its own, which no export has")
    return ElementTree.fromstring(data)


def _export(own: bytes) -> _Export:
    root = _root(own)
    patients = root.findall("./BODY/Patient")
    series = [one for patient in patients for one in patient.findall("./Study/Series") if _of_type(one, "OCT")]
    if not series:
        raise Refused("empty", "HEYEX XML, no B-scan")
    if len(patients) > 1 or len(series) > 1:
        raise Refused("unsupported_mode", f"HEYEX XML, {len(series)} volumes in one file: export each by itself")
    return _Export(
        patients[0], series[0], _of_type(series[0], "OCT"), next(iter(_of_type(series[0], "LOCALIZER")), None)
    )


def _of_type(element: Element, kind: str) -> list[Element]:
    return [image for image in element.iter("Image") if _text(image, "./ImageType/Type") == kind]


def _picture_name(image: Element) -> str:
    return _text(image, "./ImageData/ExamURL").replace("\\", "/").rpartition("/")[2]


def _text(element: Element | None, path: str) -> str:
    found = None if element is None else element.find(path)
    return "" if found is None else (found.text or "").strip()


XML = Container(
    "XML",
    (".xml",),
    lambda data: data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") and MARK in data[:MARK_WITHIN],
    _Xml,
    guarded=True,
    header=read_header,
    asked=True,
    beside=named_beside,
)
