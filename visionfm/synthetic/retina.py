"""The back of the eye seen from the front: disc, fovea and branching vessels, for fundus photograph and angiogram.

Calibre is the eye's `vessel` factor; the tree itself depends on the scene's `retina` stream alone.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from visionfm.synthetic.canvas import Points
from visionfm.synthetic.scene import Scene, wander

DISC_RADIUS = 0.052
FOVEA_DISTANCE = 0.27


@dataclass
class Tree:
    """Polylines (N, 2) and their widths, in units of the side."""

    lines: list[Points] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)


@dataclass
class Retina:
    """Where things are: field of view, disc, fovea, and the two vessel trees."""

    centre: tuple[float, float]
    field_radius: float
    disc: tuple[float, float]
    disc_radius: float
    fovea: tuple[float, float]
    arteries: Tree
    veins: Tree


def lay_out(scene: Scene) -> Retina:
    """Return the eye's retina; the field of view grows with the pupil (factor `size`)."""
    rng = scene.stream("retina")
    side = scene.nasal
    centre = (0.5 + rng.uniform(-0.01, 0.01), 0.5 + rng.uniform(-0.01, 0.01))
    disc = (centre[0] + side * rng.uniform(0.20, 0.22), centre[1] + rng.uniform(-0.03, 0.02))
    fovea = (disc[0] - side * FOVEA_DISTANCE, disc[1] + rng.uniform(0.015, 0.03))
    calibre = 0.45 + 1.1 * scene.level("vessel")
    arteries, veins = Tree(), Tree()
    for tree, width, offset in ((veins, 0.0145, 0.0), (arteries, 0.0105, 0.16)):
        for vertical in (-1, 1):
            _arcade(rng, tree, disc, side, vertical, width * calibre, offset)
            for lean in (0.35, 0.9):
                angle = np.arctan2(vertical * np.sin(lean + offset), side * np.cos(lean + offset))
                _grow(rng, tree, disc, float(angle), 0.42, width * 0.7 * calibre, 2)
        for lean in (-0.25, 0.3):  # the small vessels towards the fovea
            _grow(rng, tree, disc, float(np.arctan2(np.sin(lean + offset), -side)), 0.17, width * 0.35 * calibre, 1)
    return Retina(
        centre=centre,
        field_radius=0.40 + 0.085 * scene.level("size"),
        disc=disc,
        disc_radius=DISC_RADIUS * rng.uniform(0.95, 1.05),
        fovea=fovea,
        arteries=arteries,
        veins=veins,
    )


def _arcade(
    rng: np.random.Generator,
    tree: Tree,
    disc: tuple[float, float],
    side: int,
    vertical: int,
    width: float,
    offset: float,
) -> None:
    """Add one temporal arcade, arching above or below the fovea, and its branches on both sides."""
    t = np.linspace(0.0, 1.0, 46)
    rise = rng.uniform(0.22, 0.26) - 0.14 * offset
    reach = 0.62
    x = disc[0] - side * reach * t**1.25
    y = disc[1] + vertical * rise * np.sin(np.pi * np.minimum(t, 1.0) * rng.uniform(0.62, 0.72)) ** 0.62
    sway = np.cumsum(rng.normal(0.0, 0.5, t.size))
    y = y + 0.006 * (sway - np.linspace(0, sway[-1], t.size)) * np.sin(np.pi * t)
    line = np.stack([x, y], axis=1)
    pieces = 6  # the trunk tapers in steps
    for piece in range(pieces):
        start, stop = piece * 46 // pieces, min((piece + 1) * 46 // pieces + 1, 46)
        tree.lines.append(line[start:stop])
        tree.widths.append(width * (1 - 0.11 * piece))
    for index in range(6, 44, 5):
        heading = np.arctan2(*(line[index + 1] - line[index - 1])[::-1])
        turn = rng.uniform(0.5, 0.9) * (1 if rng.random() < 0.5 else -1)
        length = rng.uniform(0.12, 0.24)
        _grow(rng, tree, tuple(line[index]), float(heading + turn), length, width * rng.uniform(0.4, 0.6), 2)


def _grow(
    rng: np.random.Generator,
    tree: Tree,
    start: tuple[float, float],
    angle: float,
    length: float,
    width: float,
    branchings: int,
) -> None:
    """Add a vessel and, `branchings` deep, the vessels that leave it."""
    line = wander(rng, start, angle, length, 0.10)
    half = len(line) // 2
    tree.lines += [line[: half + 1], line[half:]]
    tree.widths += [width, width * 0.75]
    if branchings == 0 or length < 0.05:
        return
    for share in (0.4, 0.75):
        index = int(share * (len(line) - 1))
        (dx, dy) = line[index] - line[index - 1]
        heading = math.atan2(dy, dx)
        turn = rng.uniform(0.4, 0.8) * (1 if rng.random() < 0.5 else -1)
        _grow(rng, tree, tuple(line[index]), float(heading + turn), length * 0.5, width * 0.55, branchings - 1)
