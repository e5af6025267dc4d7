"""Topcon's `.fda` and `.fds`: B-scans and the colour photograph of a volume, in named blocks.

No specification is public. The blocks are those that the project uocte found (wiki page "Topcon File Format"), as two
open readers (OCT-Converter, retimat) read them: B-scans as JPEG or JPEG 2000 (@IMG_JPEG), else as 16 bits
(@IMG_MOT_COMP_03, @IMG_SCAN_03); photographs store blue first. Nothing that a file says of a person enters a message.
"""

import mmap
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright, blamed
from visionfm.images.containers.jpeg_png_bmp import JPEG
from visionfm.images.containers.netpbm_jpeg2000 import JP2
from visionfm.images.pixels import Pixels, eight_bits

MARK = b"FOCT"
HEAD_BYTES, MOST_BLOCKS = 15, 10_000
_COMPRESSED = struct.Struct("<BIIIIII")  # mode, two unknown, width, height, number, unknown; each: its size before it
_RAW = struct.Struct("<BIIIIBI")  # mode, width, height, bits, number, format, size
_PHOTOGRAPH = struct.Struct("<IIII4sI")  # width, height, bits, number, format, size
_RAW_PHOTOGRAPH = struct.Struct("<IIIIBI")
_RAW_NAMES = ("@IMG_MOT_COMP_03", "@IMG_SCAN_03")
_EYES = {0: "R", 1: "L"}


class _Topcon(Opened):
    """A volume whose blocks were found."""

    def __init__(self, data: bytes) -> None:
        """Walk the blocks, and find the B-scans."""
        with blamed("Topcon"):
            self.blocks = _blocks(memoryview(data))
            self.scans = self._compressed() or self._raw()
        if not self.scans:
            raise Refused("empty", "Topcon, no B-scans of a known kind")
        self.frames = len(self.scans)
        self.seek(0)

    def header(self) -> Header:
        """Return the size of the chosen picture."""
        return self.chosen.header()

    def seek(self, frame: int) -> None:
        """Choose a B-scan."""
        self.chosen = self.scans[frame]()

    def seek_enface(self) -> None:
        """Choose the photograph of the fundus."""
        with blamed("Topcon"):
            if (block := self.blocks.get("@IMG_FUNDUS")) is not None:
                size = _PHOTOGRAPH.unpack_from(block)[-1]
                self.chosen = _BlueFirst(_picture(block[_PHOTOGRAPH.size :][:size]))
            elif (block := self.blocks.get("@IMG_OBS")) is not None:
                width, height, *_ = _RAW_PHOTOGRAPH.unpack_from(block)
                stored = _values(block[_RAW_PHOTOGRAPH.size :], np.dtype(np.uint8), (height, width, 3))
                self.chosen = _BlueFirst(_Values(stored))
            else:
                super().seek_enface()

    def load(self, shrink_to_px: int | None) -> Upright:
        """Decode the chosen picture."""
        return self.chosen.load(None)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the chosen picture; 16 bits by their full range, or that of `bits`."""
        return self.chosen.rgb(bits)

    def _compressed(self) -> "list[Callable[[], Opened]]":
        block = self.blocks.get("@IMG_JPEG")
        if block is None:
            return []
        *_, width, height, number, _ = _COMPRESSED.unpack_from(block)
        at = _COMPRESSED.size
        scans: list[Callable[[], Opened]] = []
        for _ in range(number):
            (size,) = struct.unpack_from("<I", block, at)
            scan = block[at + 4 : at + 4 + size]
            if not size or len(scan) < size:
                raise Refused("truncated", f"Topcon, {len(scans)} B-scans, {number} promised")
            scans.append(partial(_picture, scan))
            at += 4 + size
        return scans

    def _raw(self) -> "list[Callable[[], Opened]]":
        block = next((self.blocks[name] for name in _RAW_NAMES if name in self.blocks), None)
        if block is None:
            return []
        _, width, height, bits, number, *_ = _RAW.unpack_from(block)
        if bits != 16:
            raise Refused("unsupported_mode", f"Topcon, B-scans of {bits} bits")
        stored_FHW = _values(block[_RAW.size :], np.dtype("<u2"), (number, height, width))
        return [partial(_Values, scan) for scan in stored_FHW]


class _Values(Opened):
    """A picture that is stored as it is: uint16 (H, W), uint8 (H, W, 3)."""

    frames = 1

    def __init__(self, stored: Any) -> None:
        self.stored = stored

    def header(self) -> Header:
        height, width = self.stored.shape[:2]
        return Header(width, height, "RGB" if self.stored.ndim == 3 else "I;16")

    def seek(self, frame: int) -> None:
        pass

    def load(self, shrink_to_px: int | None) -> Upright:
        height, width = self.stored.shape[:2]
        return Upright(width, height, 1)

    def rgb(self, bits: int | None = None) -> Pixels:
        if self.stored.ndim == 3:
            return np.ascontiguousarray(self.stored)
        if bits is not None and (brightest := int(self.stored.max(initial=0))) >= 2**bits:
            raise Refused("too_bright", f"Topcon, a pixel of {brightest}, over {2**bits - 1}")
        return np.repeat(eight_bits(self.stored, bits or 16)[:, :, None], 3, axis=2)


class _BlueFirst(Opened):
    """A picture whose channels are stored blue, green, red."""

    frames = 1

    def __init__(self, picture: Opened) -> None:
        self.picture = picture

    def header(self) -> Header:
        return self.picture.header()

    def seek(self, frame: int) -> None:
        pass

    def load(self, shrink_to_px: int | None) -> Upright:
        return self.picture.load(shrink_to_px)

    def rgb(self, bits: int | None = None) -> Pixels:
        return np.ascontiguousarray(self.picture.rgb(bits)[:, :, ::-1])


def _picture(data: memoryview) -> Opened:
    """Open a picture that stands in a block."""
    for container in (JPEG, JP2):
        if container.matches(bytes(data[:12])):
            return container.open(bytes(data))
    raise Refused("unreadable", "Topcon, a picture that is no JPEG and no JPEG 2000")


def _values(data: memoryview, kind: "np.dtype[Any]", shape: tuple[int, ...]) -> Any:
    promised = kind.itemsize
    for side in shape:
        promised *= side
    if len(data) < promised:
        raise Refused("truncated", f"Topcon, {len(data)} bytes of pixels, {promised} promised")
    return np.frombuffer(data, kind, promised // kind.itemsize).reshape(shape)


def _blocks(data: memoryview) -> dict[str, memoryview]:
    """Return a file's blocks by name; of several of one name, the first."""
    blocks: dict[str, memoryview] = {}
    at = HEAD_BYTES
    for _ in range(MOST_BLOCKS):
        length = data[at] if at < len(data) else 0
        if not length:
            return blocks
        name = bytes(data[at + 1 : at + 1 + length]).decode("latin-1")
        at += 1 + length + 4
        size = int.from_bytes(data[at - 4 : at], "little")
        if at + size > len(data):
            raise Refused("truncated", f"Topcon, {len(data)} bytes, {at + size} promised")
        blocks.setdefault(name, data[at : at + size])
        at += size
    raise Refused("unreadable", f"Topcon, over {MOST_BLOCKS} blocks")


def read_header(path: Path) -> Mapping[str, str]:
    """Return what a file says beside its pictures; sizes in mm. Refused for a damaged one."""
    with path.open("rb") as file, blamed("Topcon"):
        blocks = _blocks(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        found = {"PatientID": "", "CaptureDate": "", "PixelSpacing": "", "SliceDistance": ""}
        side = ""
        if (block := blocks.get("@PATIENT_INFO_02", blocks.get("@PATIENT_INFO"))) is not None:
            found["PatientID"] = bytes(block[:32]).decode("latin-1").strip("\0 ")
        if (block := blocks.get("@CAPTURE_INFO_02")) is not None:
            side, date_at = _EYES.get(block[0], ""), 106
        elif (block := blocks.get("@CAPTURE_INFO")) is not None:
            side, date_at = _EYES.get(block[0], ""), 1
        if block is not None:
            year, month, day = struct.unpack_from("<HHH", block, date_at)
            found["CaptureDate"] = f"{year:04d}-{month:02d}-{day:02d}"
        size = _scan_size(blocks)
        for name, at in (("@PARAM_SCAN_04", 12), ("@PARAM_SCAN_02", 21)):
            if size is not None and (block := blocks.get(name)) is not None:
                (width, number), (across, between, down_um) = size, struct.unpack_from("<ddd", block, at)
                found["PixelSpacing"] = f"{down_um / 1000:.9g}\\{across / width:.9g}"
                found["SliceDistance"] = f"{between / number:.9g}"
                break
    return {**found, "eye": side, "subject": found["PatientID"], "visit": found["CaptureDate"]}


def _scan_size(blocks: Mapping[str, memoryview]) -> tuple[int, int] | None:
    """Return the columns of a B-scan, and how many there are."""
    if (block := blocks.get("@IMG_JPEG")) is not None:
        *_, width, _, number, _ = _COMPRESSED.unpack_from(block)
        return width, number
    if (block := next((blocks[name] for name in _RAW_NAMES if name in blocks), None)) is not None:
        _, width, _, _, number, *_ = _RAW.unpack_from(block)
        return width, number
    return None


TOPCON = Container(
    "Topcon",
    (".fda", ".fds"),
    lambda data: data.startswith(MARK),
    _Topcon,
    guarded=True,
    header=read_header,
)
