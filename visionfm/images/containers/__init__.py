"""File formats of images, one file for each kind: signature, frames, facts and pixels. CONTAINERS lists them all."""

from visionfm.images.containers.container import Container
from visionfm.images.containers.dicom import DICOM
from visionfm.images.containers.gif_webp import GIF, WEBP
from visionfm.images.containers.heyex_vol import VOL
from visionfm.images.containers.jpeg_png_bmp import BMP, JPEG, PNG
from visionfm.images.containers.numpy_stack import NPY, NPZ
from visionfm.images.containers.tiff import TIFF

__all__ = ["CONTAINERS", "Container", "container_of"]

CONTAINERS: tuple[Container, ...] = (
    DICOM,
    JPEG,
    PNG,
    TIFF,
    WEBP,
    GIF,
    BMP,
    VOL,
    NPY,
    NPZ,
)  # DICOM may begin as a TIFF does


def container_of(data: bytes) -> Container | None:
    """Return the format that a file's bytes show, whatever its name; None for any other."""
    return next((container for container in CONTAINERS if container.matches(data)), None)
