"""The exact masks and points of drawn eyes, as the published trees store them: mask PNGs and `.npy` arrays.

A pixel is of a class where the drawing covers at least half of it; later classes lie over earlier ones. Points are in
pixels, (0, 0) the first pixel's centre; in an array each is marked in its nearest pixel, truth.csv has them exactly.
"""

import io
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionfm.synthetic.findings import DISEASES, Findings
from visionfm.synthetic.scene import Geometry

# Task -> modality -> the published folder (ours where there is none).
FOLDERS = {
    "segmentation": {"Fundus": "VesselSegmentation", "OCT": "OCTSegmentation", "FFA": "FFASegmentation"},
    "landmark": {"UBM": "LandmarkDetection", "Fundus": "FundusLandmarkDetection"},
}
SUFFIXES = {"segmentation": ".png", "landmark": ".npy"}
# Classes of each modality's mask from 1 on, and the drawing's masks that make them; 0 is the background.
MASKS: dict[str, dict[str, tuple[str, ...]]] = {
    "Fundus": {"disc": ("disc",), "vessel": ("veins", "arteries")},
    "FFA": {"disc": ("disc",), "vessel": ("veins", "arteries")},
    "OCT": {
        "nerve_fibres": ("nerve_fibres",),
        "inner_retina": ("ganglion_cells", "inner_nuclear", "outer_plexiform"),
        "outer_retina": ("outer_nuclear", "ellipsoid", "outer_segments", "photoreceptor_ends"),
        "fluid": ("fluid",),
    },
}
POINTS = {
    "UBM": ("scleral_spur_left", "scleral_spur_right", "iris_root_left", "iris_root_right"),
    "Fundus": ("disc", "fovea"),
}
NOISE_CLASSES, NOISE_POINTS = 5, 3  # as the published generator has them
CHANCE_FLUID = 0.5  # of an OCT image drawn for segmentation: fluid should be no rarity there
# What does not hide the anatomy that is asked for; fluid lies below a detached retina.
SHOWN = {
    "Fundus": ("Glaucoma", "Myopia"),
    "FFA": ("Glaucoma", "Myopia"),
    "OCT": ("Glaucoma", "AMD", "Myopia"),
    "UBM": ("Glaucoma", "Myopia", "Cataract"),
}


class Partner(NamedTuple):
    """What belongs to an image: the file below labels/, and its exact points."""

    content: bytes
    points: dict[str, tuple[float, float]]


def clear_view(modality: str, findings: Findings, rng: np.random.Generator) -> Findings:
    """Return the findings without what would hide vessels or layers; half of OCT images have fluid."""
    fluid = modality == "OCT" and rng.random() < CHANCE_FLUID
    diseases = [int(value and name in SHOWN[modality]) for name, value in zip(DISEASES, findings.diseases, strict=True)]
    diseases[DISEASES.index("Retinal Detachment")] = int(fluid)
    diseases[0] = int(not any(diseases[1:]))
    return replace(findings, diseases=tuple(diseases))


def drawn_partner(task: str, modality: str, geometry: Geometry, size: int) -> Partner:
    """Return a drawing's mask or points."""
    if task == "segmentation":
        return Partner(_png(class_map(modality, geometry, size)), {})
    points = {name: tuple(share * size - 0.5 for share in geometry.points[name]) for name in POINTS[modality]}
    return Partner(_npy(list(points.values()), size), points)  # type: ignore[arg-type]


def class_map(modality: str, geometry: Geometry, size: int) -> npt.NDArray[np.uint8]:
    """Return the class index of each pixel (S, S); where the camera sees nothing there is background."""
    map_SS = np.zeros((size, size), np.uint8)
    for index, names in enumerate(MASKS[modality].values(), 1):
        for name in names:
            if name in geometry.masks:
                map_SS[geometry.masks[name] >= 0.5] = index
    if "field_of_view" in geometry.masks:
        map_SS[geometry.masks["field_of_view"] < 0.5] = 0
    return map_SS


def noise_partner(task: str, rng: np.random.Generator, size: int) -> Partner:
    """Return random classes, or random points, as the published generator writes them."""
    if task == "segmentation":
        return Partner(_png(rng.integers(0, NOISE_CLASSES, (size, size), dtype=np.uint8)), {})
    points = [(float(x), float(y)) for x, y in rng.integers(0, size, (NOISE_POINTS, 2))]
    return Partner(_npy(points, size), {f"point{index}": at for index, at in enumerate(points)})


def _png(map_SS: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(map_SS).save(file, "PNG")
    return file.getvalue()


def _npy(points: list[tuple[float, float]], size: int) -> bytes:
    array_SSK = np.zeros((size, size, len(points)), np.uint8)
    for index, (x, y) in enumerate(points):
        column, row = (min(max(round(value), 0), size - 1) for value in (x, y))
        array_SSK[row, column, index] = 1
    file = io.BytesIO()
    np.save(file, array_SSK)
    return file.getvalue()
