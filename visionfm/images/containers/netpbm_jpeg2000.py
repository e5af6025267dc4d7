"""PBM, PGM and PPM, and JPEG 2000."""

import re

from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PpmImagePlugin import PpmImageFile

from visionfm.images.containers.container import Container, Refused, Upright
from visionfm.images.containers.pillow import PillowImage

NETPBM = re.compile(rb"P[1-6][\s#]")
JP2_MARKS = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")  # a file, a bare codestream
END = b"\xff\xd9"


class _Netpbm(PillowImage):
    name = "PBM, PGM or PPM"
    plugin = PpmImageFile


class _Jpeg2000(PillowImage):
    name = "JPEG 2000"
    plugin = Jpeg2KImageFile

    def decode(self, shrink_to_px: int | None) -> Upright:
        """Load the pixels, once the end is there: the decoder fills what is missing with what it has."""
        if END not in self.data[-64:]:
            raise Refused("truncated", f"{self.name}, it has no end")
        return super().decode(shrink_to_px)

    def ends_early(self) -> bool:
        return END not in self.data[-64:]


PNM = Container("PNM", (".pbm", ".pgm", ".ppm", ".pnm"), lambda data: NETPBM.match(data) is not None, _Netpbm)
JP2 = Container(
    "JPEG 2000",
    (".jp2", ".j2k", ".j2c", ".jpc"),
    lambda data: data.startswith(JP2_MARKS),
    _Jpeg2000,
    lossy=True,
    guarded=True,
)
