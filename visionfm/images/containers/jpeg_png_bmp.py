"""JPEG, PNG and BMP."""

import zlib

from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile

from visionfm.images.containers.container import Container, Refused, Upright
from visionfm.images.containers.pillow import ZEROS, PillowImage
from visionfm.images.pixels import orientation

JPEG_MARK, PNG_MARK, BMP_MARK = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"


class _Jpeg(PillowImage):
    """A JPEG, or several in one file (MPO)."""

    name = "JPEG"
    plugin = staticmethod(jpeg_factory)

    def decode(self, shrink_to_px: int | None) -> Upright:
        """Load the pixels, at 1/2, 1/4 or 1/8 where that is enough; damage shows all the same."""
        size = self.opened.size
        self._check_end()
        if shrink_to_px is not None:
            self.opened.draft(None, (shrink_to_px, shrink_to_px))
        self.opened.load()
        return Upright.turned(*size, orientation(self.opened))

    def ends_early(self) -> bool:
        return b"\xff\xd9" not in self.data[-64:]

    def _check_end(self) -> None:
        """Refuse a half-copied file that was filled with zeros: decoders take them for grey pixels."""
        zeros = self.zeros_at_end()
        if zeros >= ZEROS and self.data.rfind(b"\xff\xd9") < self.data.rfind(b"\xff\xda"):  # no end after the scan
            raise Refused("truncated", f"{self.name}, its last {zeros} bytes are zeros")


class _Png(PillowImage):
    name = "PNG"
    plugin = PngImageFile

    def decode(self, shrink_to_px: int | None) -> Upright:
        """Load the pixels, once the checksum of every chunk holds: Pillow does not look at those of pixels."""
        self._check_chunks()
        return super().decode(shrink_to_px)

    def ends_early(self) -> bool:
        return b"IEND" not in self.data[-64:]

    def note(self) -> None:
        """Return None: its checksums tell more than zeros at its end."""

    def _check_chunks(self) -> None:
        at, size = len(PNG_MARK), len(self.data)
        view = memoryview(self.data)
        while at + 12 <= size:
            end = at + 12 + int.from_bytes(view[at : at + 4], "big")
            if end > size:
                break
            if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                reason = "truncated" if self.zeros_at_end() >= ZEROS else "unreadable"
                raise Refused(reason, f"{self.name}, a chunk does not match its checksum")
            if self.data[at + 4 : at + 8] == b"IEND":
                return
            at = end
        raise Refused("truncated", f"{self.name}, it has no end")


class _Bmp(PillowImage):
    name = "BMP"
    plugin = BmpImageFile

    def ends_early(self) -> bool:
        return len(self.data) < 54 or int.from_bytes(self.data[2:6], "little") > len(self.data)


JPEG = Container("JPEG", (".jpg", ".jpeg"), lambda data: data.startswith(JPEG_MARK), _Jpeg, lossy=True)
PNG = Container("PNG", (".png",), lambda data: data.startswith(PNG_MARK), _Png)
BMP = Container("BMP", (".bmp",), lambda data: data.startswith(BMP_MARK), _Bmp)
