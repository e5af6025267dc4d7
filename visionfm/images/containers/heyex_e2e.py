"""Heidelberg's `.e2e`: the B-scans of one volume and its picture of the fundus, by the structures that eyepy defines.

A file of several volumes is refused: which one a row of a table means, nothing says. Values are reflectivity in a float
of 16 bits; eyepy's logarithm of it, with a contrast like that of HEYEX, is shown. The size of a pixel along the scan is
not known from such a file. Nothing that it says of a person enters a message.
"""

import mmap
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionfm.images.containers.container import Container, Header, Opened, Refused, Upright, blamed
from visionfm.images.pixels import Pixels

MARK = b"CMDb"
HEAD_AT, HEAD_BYTES, ENTRY_BYTES, FOLDER_HEAD_BYTES = 36, 52, 44, 60
PATIENT, EYE, SCAN, TIME, PICTURE = 9, 11, 10004, 10005, 1073741824  # kinds of folders
BSCAN, FUNDUS = 35652097, 33620481  # kinds of pictures
_PICTURE_HEAD_BYTES = 20
_EYES = {ord("R"): "R", ord("L"): "L"}
Series = tuple[int, int, int]  # a person, a study and a series, by the ids of the database
Entry = tuple[Series, int, int, int]  # series, slice, where its data begin, their length


class _E2e(Opened):
    """A volume whose folders were found; pictures are decoded one by one."""

    def __init__(self, data: bytes) -> None:
        """Walk the folders, and find the pictures."""
        with blamed("E2E"):
            self.data = data
            scans: dict[Series, dict[int, tuple[int, int, int]]] = defaultdict(dict)
            self.fundus: dict[Series, tuple[int, int, int]] = {}
            for series, scan, at, size in _folders(data)[PICTURE]:
                picture = _picture(data, at, size)
                if picture[0] == BSCAN:
                    scans[series].setdefault(scan, picture[1:])
                elif picture[0] == FUNDUS:
                    self.fundus.setdefault(series, picture[1:])
            if len(scans) > 1:
                raise Refused("unsupported_mode", f"E2E, {len(scans)} volumes in one file: export each by itself")
            if not scans:
                raise Refused("empty", "E2E, no B-scan")
            ((self.series, by_number),) = scans.items()
            self.scans = [by_number[number] for number in sorted(by_number)]
        self.frames = len(self.scans)
        self.seek(0)

    def header(self) -> Header:
        """Return the size of the chosen picture."""
        _, height, width = self.chosen
        return Header(width, height, "L")

    def seek(self, frame: int) -> None:
        """Choose a B-scan."""
        self.chosen, self.enface = self.scans[frame], False

    def seek_enface(self) -> None:
        """Choose the picture of the fundus."""
        if self.series not in self.fundus:
            super().seek_enface()
        self.chosen, self.enface = self.fundus[self.series], True

    def load(self, shrink_to_px: int | None) -> Upright:
        """Return the size: nothing is compressed."""
        _, height, width = self.chosen
        return Upright(width, height, 1)

    def rgb(self, bits: int | None = None) -> Pixels:
        """Return the chosen picture."""
        with blamed("E2E"):
            at, height, width = self.chosen
            if self.enface:
                shown_HW = np.frombuffer(self.data, np.uint8, height * width, at).reshape(height, width)
            else:
                from eyepy.core.utils import from_e2e_intensity

                stored_HW = np.frombuffer(self.data, "<u2", height * width, at).reshape(height, width)
                shown_HW = from_e2e_intensity(_reflectivity()[stored_HW])
            return np.repeat(shown_HW[:, :, None], 3, axis=2)


def _reflectivity() -> npt.NDArray[np.float32]:
    """Return what each of the 65,536 stored values means."""
    from eyepy.io.he.e2e_format import Bscan

    return np.asarray(Bscan.LUT, np.float32)


def _picture(data: bytes, at: int, size: int) -> tuple[int, int, int, int]:
    """Return the kind of a picture, where its pixels begin, its height and its width."""
    import construct
    from eyepy.io.he.e2e_format import type1073741824_format as whole

    start = at + FOLDER_HEAD_BYTES
    fields = [part for part in whole.subcon.subcons if part.name != "data"]
    head = construct.Struct(*fields).parse(data[start : start + _PICTURE_HEAD_BYTES])
    kind, height, width = int(head.type), int(head.height), int(head.width)
    promised = height * width * (2 if kind == BSCAN else 1)
    if kind in (BSCAN, FUNDUS) and (promised + _PICTURE_HEAD_BYTES > size or not promised):
        raise Refused("unreadable", "E2E, a picture of another size than its folder")
    return kind, start + _PICTURE_HEAD_BYTES, height, width


def _folders(data: bytes | mmap.mmap) -> dict[int, list[Entry]]:
    """Return the folders of each kind, in the order of the file; a chunk names the one before it."""
    import construct
    from eyepy.io.he.e2e_format import folderheader_format, header_format

    main = header_format.parse(data[HEAD_AT : HEAD_AT + HEAD_BYTES])
    at = int(main.current)
    chunks: list[int] = []
    while at:
        if at in chunks or len(chunks) > len(data) // HEAD_BYTES:
            raise Refused("unreadable", "E2E, its chunks go in a circle")
        if at + HEAD_BYTES > len(data):
            raise Refused("truncated", f"E2E, {len(data)} bytes, at least {at + HEAD_BYTES} promised")
        chunks.append(at)
        at = int(header_format.parse(data[at : at + HEAD_BYTES]).prev)
    found: dict[int, list[Entry]] = defaultdict(list)
    for start in sorted(chunks):
        number = int(header_format.parse(data[start : start + HEAD_BYTES]).num_entries)
        entries = data[start + HEAD_BYTES : start + HEAD_BYTES + number * ENTRY_BYTES]
        if len(entries) < number * ENTRY_BYTES:
            raise Refused("truncated", f"E2E, {len(data)} bytes, fewer than its list of folders promises")
        for entry in construct.Array(number, folderheader_format).parse(entries):
            if int(entry.start) <= int(entry.pos):
                continue  # an empty one
            end = int(entry.start) + FOLDER_HEAD_BYTES + int(entry.size)
            if end > len(data):
                raise Refused("truncated", f"E2E, {len(data)} bytes, at least {end} promised")
            series = (int(entry.patient_id), int(entry.study_id), int(entry.series_id))
            found[int(entry.type)].append((series, int(entry.slice_id), int(entry.start), int(entry.size)))
    return found


def read_header(path: Path) -> Mapping[str, str]:
    """Return what a file says of its one volume; nothing of an eye where its folders name both."""
    from eyepy.io.he.e2e_format import type9_format, type10005_format

    with path.open("rb") as file, blamed("E2E"):
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        folders = _folders(data)

        def contents(kind: int) -> list[bytes]:
            return [data[at + FOLDER_HEAD_BYTES :][:size] for _, _, at, size in folders[kind]]

        sides = {_EYES.get(content[14], "") for content in contents(EYE) if len(content) > 14}
        patients = {type9_format.parse(content).patient_id.strip("\0 ") for content in contents(PATIENT)}
        dates = {str(type10005_format.parse(content).examination_time)[:10] for content in contents(TIME)}
    one = {
        name: next(iter(values)) if len(values) == 1 else ""
        for name, values in {"Laterality": sides, "PatientID": patients, "ExaminationDate": dates}.items()
    }
    return {**one, "eye": one["Laterality"], "subject": one["PatientID"], "visit": one["ExaminationDate"]}


E2E = Container(
    "E2E",
    (".e2e",),
    lambda data: data.startswith(MARK),
    _E2e,
    needs=("eyepy", "construct"),
    extra="oct",
    guarded=True,
    header=read_header,
)
