"""File formats of images, one file for each kind: signature, frames, facts and pixels. CONTAINERS lists them all."""

import os

from visionfm.images.containers.container import Container
from visionfm.images.containers.dicom import DICOM
from visionfm.images.containers.gif_webp import GIF, WEBP
from visionfm.images.containers.heyex_e2e import E2E
from visionfm.images.containers.heyex_vol import VOL
from visionfm.images.containers.heyex_xml import XML
from visionfm.images.containers.jpeg_png_bmp import BMP, JPEG, PNG
from visionfm.images.containers.netpbm_jpeg2000 import JP2, PNM
from visionfm.images.containers.nifti import NIFTI
from visionfm.images.containers.numpy_stack import NPY, NPZ
from visionfm.images.containers.slices import SLICES
from visionfm.images.containers.tiff import TIFF
from visionfm.images.containers.topcon import TOPCON
from visionfm.images.containers.zeiss_img import IMG

__all__ = ["CONTAINERS", "Container", "container_of", "suffix_of"]

CONTAINERS: tuple[Container, ...] = (
    DICOM,
    JPEG,
    PNG,
    TIFF,
    WEBP,
    GIF,
    BMP,
    PNM,
    JP2,
    VOL,
    XML,
    E2E,
    TOPCON,
    NPY,
    NPZ,
    NIFTI,
    SLICES,
    IMG,
)  # DICOM may begin as a TIFF does; IMG is known by its length alone


def container_of(data: bytes) -> Container | None:
    """Return the format that a file's bytes show, whatever its name; None for any other."""
    return next((container for container in CONTAINERS if container.matches(data)), None)


def suffix_of(name: str) -> str:
    """Return a file name's suffix in small letters, with its dot; `.nii.gz` is one, and names without have none."""
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 -- folders hold millions of files
    return ".nii.gz" if suffix == ".gz" and stem.endswith(".nii") else suffix
