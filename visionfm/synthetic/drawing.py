"""Draw an eye in a modality: image, and the geometry of what was drawn."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from visionfm.synthetic.angiogram import draw_ffa
from visionfm.synthetic.echo import draw_ubm, draw_ultrasound
from visionfm.synthetic.findings import Findings
from visionfm.synthetic.fundus import draw_fundus
from visionfm.synthetic.orbit import draw_mri
from visionfm.synthetic.outside import draw_external, draw_slitlamp
from visionfm.synthetic.scene import DIFFICULTIES, Geometry, Scene
from visionfm.synthetic.tomography import draw_oct

DRAWERS: dict[str, Callable[[Scene], None]] = {
    "Fundus": draw_fundus,
    "OCT": draw_oct,
    "External": draw_external,
    "UBM": draw_ubm,
    "Ultrasound": draw_ultrasound,
    "FFA": draw_ffa,
    "SlitLamp": draw_slitlamp,
    "MRI": draw_mri,
}
COLOURED = frozenset({"Fundus", "External", "SlitLamp"})  # the others are grey


def render(
    modality: str,
    findings: Findings,
    rng: np.random.Generator,
    size: int = 512,
    difficulty: str = "easy",
    marks: bool = True,
) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """Return the image, uint8 RGB (size, size, 3), and the masks and points of what was drawn.

    Without `marks` an eye has the anatomy of its diseases, but not the marks all over it that tell them apart.
    """
    scene = Scene(findings, rng, size, DIFFICULTIES[difficulty], 3 if modality in COLOURED else 1, marks)
    DRAWERS[modality](scene)
    return scene.canvas.pixels(), scene.geometry


def draw(
    modality: str, findings: Findings, rng: np.random.Generator, size: int = 512, difficulty: str = "easy"
) -> npt.NDArray[np.uint8]:
    """Return `render`'s image alone."""
    return render(modality, findings, rng, size, difficulty)[0]
