"""The marks that diseases leave: dots, dashes and stripes whose arrangement names the disease in every modality.

Marks lie on a jittered lattice with one cell for each patch of a ViT/16 at 224 px, each disease's at its own place in
the cell or with its own periods, all unchanged by flips. So even an untrained encoder, which does little more than
average its patches, tells them apart; colour and region are the modality's. Of diabetic retinopathy the grade's own
mark and microaneurysms are dense, the marks of the grades between are sparse.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from visionfm.synthetic.canvas import Array, Colour, Points
from visionfm.synthetic.findings import DISEASES, NOT_GRADED
from visionfm.synthetic.scene import CELLS, Scene

GRADE_SIGNS = DISEASES[1:5]
SIGNS = (*GRADE_SIGNS, *NOT_GRADED)
THINNED = {1: 1.0, 2: 0.15, 3: 0.15}  # the density of a grade's marks once a higher one is reached
JITTER = 0.12  # of a cell, a little more where cells are small


class Dots(NamedTuple):
    """Round marks at `offset` (shares of a cell) in each of `cells` cells across, with radii up to `radius`."""

    offset: tuple[float, float]
    radius: float
    cells: int = CELLS
    dash: float = 0.0  # half the length of a horizontal dash, 0: a dot


class Stripes(NamedTuple):
    """Stripes or checks with that many periods a cell, bent by `warp` radians."""

    across: int
    down: int
    warp: float = 0.6


MARKS: dict[str, Dots | Stripes] = {
    "DR-1": Dots((0.0, 0.0), 0.0112),
    "DR-2": Dots((0.5, 0.5), 0.0135),
    "DR-3": Dots((0.5, 0.0), 0.0165),
    "DR-4": Dots((0.0, 0.5), 0.0175),
    "Glaucoma": Stripes(2, 0),
    "AMD": Dots((0.5, 0.5), 0.0094, 2 * CELLS),
    "Cataract": Stripes(1, 1),
    "Hypertensive Retinopathy": Stripes(1, 2),
    "Retinal Vein Occlusion": Dots((0.25, 0.5), 0.0078, 2 * CELLS, dash=0.012),
    "Myopia": Stripes(2, 1),
    "Retinal Detachment": Stripes(0, 1),
}


class Look(NamedTuple):
    """How a modality shows a mark: where (a mask), in which colour, how opaque, and how large against the usual."""

    region: Array
    colour: Colour
    opacity: float = 0.95
    scale: float = 1.0


def shown(scene: Scene) -> dict[str, float]:
    """Return the signs that the eye shows, each with its density on [0, 1]."""
    grade = scene.findings.dr_grade
    signs = {f"DR-{step}": 1.0 if step == grade else THINNED[step] for step in range(1, grade + 1)}
    return signs | {name: 1.0 for name in NOT_GRADED if scene.has(name)}


def paint_signs(scene: Scene, looks: Mapping[str, Look]) -> None:
    """Paint the marks of all signs that the eye shows and that `looks` has, where the scene is to have marks."""
    for name, density in shown(scene).items() if scene.marks else ():
        if name in looks:
            look = looks[name]
            scene.sign(name, mark(scene, name, look.region, density, look.scale), look.colour, look.opacity)


def mark(scene: Scene, sign: str, region: Array, density: float = 1.0, scale: float = 1.0) -> Array:
    """Return the mask of one sign's marks inside a region."""
    kind = MARKS[sign]
    rng = scene.stream(f"mark/{sign}")
    drift = rng.uniform(-0.5, 0.5, 2) * scene.difficulty.drift
    shift = (float(drift[0]), float(drift[1]))
    if isinstance(kind, Stripes):
        bend = np.float32(kind.warp) * scene.canvas.clouds(rng, 6)
        shift = (shift[0] / max(1, kind.across), shift[1] / max(1, kind.down))
        waves = scene.weave(kind.across, kind.down, bend, shift)
        patchy = np.clip(0.6 + 0.45 * scene.canvas.clouds(rng, 7), 0, 1)
        return np.asarray(np.clip(0.5 + 0.75 * waves, 0, 1) * patchy * region, np.float32)
    keep = 0.8 * density * scene.difficulty.amount
    at = inside(lattice(rng, (kind.offset[0] + shift[0], kind.offset[1] + shift[1]), keep, kind.cells), region)
    radii = scale * kind.radius * rng.uniform(0.65, 1.0, len(at))
    if not kind.dash:
        return scene.canvas.dots(at, radii)
    tilt = rng.normal(0.0, 0.2, len(at))
    along = np.stack([np.cos(tilt), np.sin(tilt)], axis=1) * kind.dash
    return scene.canvas.strokes([np.stack([a - b, a + b]) for a, b in zip(at, along, strict=True)], 2 * radii)


def lattice(rng: np.random.Generator, offset: tuple[float, float], keep: float, cells: int) -> Points:
    """Return points over the whole picture: one per cell at `offset`, `keep` of them, jittered."""
    corner = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).reshape(-1, 2)
    points = corner + np.asarray(offset) + rng.normal(0.0, JITTER * (cells / CELLS) ** 0.3, corner.shape)
    return np.asarray(points[rng.random(len(points)) < keep] / cells)


def inside(points: Points, region: Array) -> Points:
    """Return those of the points that lie where the mask is at least a half."""
    side = len(region)
    columns, rows = np.clip((points * side).astype(int), 0, side - 1).T
    return np.asarray(points[region[rows, columns] >= 0.5])
