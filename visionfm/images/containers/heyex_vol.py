"""Heidelberg's `.vol` (HEYEX RAW export): the B-scans of a volume and its picture of the fundus, parsed by eyepy.

Stored values are linear reflectivity in [0, 1]; eyepy's logarithm of it, with a contrast like that of HEYEX, is shown.
Pixels without a value are black. Nothing that a file says of a person enters a message.
"""

import io
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright, blamed
from visionfm.images.pixels import Pixels

MARKS = (b"HSF-OCT-", b"ep-v")  # of HEYEX, of eyepy
HEAD_BYTES, SCAN_HEAD_BYTES = 2048, 256  # before the picture of the fundus, and before each B-scan
_EYES = {"OD": "R", "OS": "L"}


class _Vol(Opened):
    """A volume, all of its B-scans parsed."""

    def __init__(self, data: bytes) -> None:
        """Check the sizes that the header promises, then parse."""
        with blamed("HEYEX VOL"):
            head = _head(data[:HEAD_BYTES])
            self.width, self.height, self.frames = int(head.size_x), int(head.size_y), int(head.n_bscans)
            scan_bytes = SCAN_HEAD_BYTES + 4 * self.width * self.height  # at least: headers of B-scans may be longer
            fundus_HW = (int(head.size_y_slo), int(head.size_x_slo))
            promised = HEAD_BYTES + prod(fundus_HW) + self.frames * scan_bytes
            if len(data) < promised:
                raise Refused("truncated", f"HEYEX VOL, {len(data)} bytes, at least {promised} promised")
            if not self.frames:
                raise Refused("empty", "HEYEX VOL, no B-scan")
            self.scans = _format().parse(data).bscans
            self.fundus_HW = np.frombuffer(data, np.uint8, prod(fundus_HW), HEAD_BYTES).reshape(fundus_HW)
        self.frame: int | None = 0

    def header(self) -> Header:
        """Return the size of the chosen picture."""
        height, width = self.fundus_HW.shape if self.frame is None else (self.height, self.width)
        return Header(width, height, "L")

    def seek(self, frame: int) -> None:
        """Choose a B-scan."""
        self.frame = frame

    def seek_enface(self) -> None:
        """Choose the picture of the fundus."""
        if not self.fundus_HW.size:
            super().seek_enface()
        self.frame = None

    def load(self, shrink_to_px: int | None) -> Upright:
        """Return the size: parsing has read the values."""
        width, height, _ = self.header()
        return Upright(width, height, 1)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the chosen B-scan, or the picture of the fundus."""
        if self.frame is None:
            return np.repeat(self.fundus_HW[:, :, None], 3, axis=2)
        with blamed("HEYEX VOL"):
            from eyepy.core.utils import from_vol_intensity

            stored_HW = np.array(self.scans[self.frame].data, np.float32)
            if not np.isfinite(stored_HW).all() or stored_HW.min() < 0:
                raise Refused("unreadable", "HEYEX VOL, values that are no reflectivity")
            shown_HW = from_vol_intensity(stored_HW)
            return np.repeat(shown_HW[:, :, None], 3, axis=2)


def read_header(path: Path) -> Mapping[str, str]:
    """Return what a file says before its pixels; sizes in mm. Refused for a damaged one."""
    with path.open("rb") as file, blamed("HEYEX VOL"):
        head = _head(file.read(HEAD_BYTES))
        position = str(head.scan_position).strip("\0 ")
        visit = str(head.visit_date)[:10]  # as in ISO
        patient = str(head.patient_id).strip("\0 ")
        return {
            "PatientID": patient,
            "ScanPosition": position,
            "VisitDate": visit,
            "PixelSpacing": f"{head.scale_y:.9g}\\{head.scale_x:.9g}",
            "SliceDistance": f"{head.distance:.9g}",
            "eye": _EYES.get(position, ""),
            "subject": patient,
            "visit": visit,
        }


def _format() -> Any:
    from eyepy.io.he.vol_reader import vol_format

    return vol_format


def _head(data: bytes) -> Any:
    """Parse what stands before the pictures."""
    import construct

    parts = [part for part in _format().subcons if part.name not in ("localizer", "bscans")]
    return construct.Struct(*parts).parse_stream(io.BytesIO(data))


VOL = Container(
    "VOL",
    (".vol",),
    lambda data: data.startswith(MARKS),
    _Vol,
    needs=("eyepy", "construct"),
    extra="oct",
    guarded=True,
    header=read_header,
)
