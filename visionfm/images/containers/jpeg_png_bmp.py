"""JPEG, PNG and BMP."""

from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile

from visionfm.images.containers.container import Container, Upright
from visionfm.images.containers.pillow import PillowImage
from visionfm.images.pixels import orientation

JPEG_MARK, PNG_MARK, BMP_MARK = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"


class _Jpeg(PillowImage):
    """A JPEG, or several in one file (MPO)."""

    name = "JPEG"
    plugin = staticmethod(jpeg_factory)

    def decode(self, shrink_to_px: int | None) -> Upright:
        """Load the pixels, at 1/2, 1/4 or 1/8 where that is enough; damage shows all the same."""
        size = self.opened.size
        if shrink_to_px is not None:
            self.opened.draft(None, (shrink_to_px, shrink_to_px))
        self.opened.load()
        return Upright.turned(*size, orientation(self.opened))

    def ends_early(self) -> bool:
        return b"\xff\xd9" not in self.data[-64:]


class _Png(PillowImage):
    name = "PNG"
    plugin = PngImageFile

    def ends_early(self) -> bool:
        return b"IEND" not in self.data[-64:]


class _Bmp(PillowImage):
    name = "BMP"
    plugin = BmpImageFile

    def ends_early(self) -> bool:
        return len(self.data) < 54 or int.from_bytes(self.data[2:6], "little") > len(self.data)


JPEG = Container("JPEG", (".jpg", ".jpeg"), lambda data: data.startswith(JPEG_MARK), _Jpeg, lossy=True)
PNG = Container("PNG", (".png",), lambda data: data.startswith(PNG_MARK), _Png)
BMP = Container("BMP", (".bmp",), lambda data: data.startswith(BMP_MARK), _Bmp)
