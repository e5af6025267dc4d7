"""One drawing in the making: canvas, findings, named random streams, how clearly signs show, and the geometry drawn.

Random numbers come from streams named by what they decide, so that an eye keeps its anatomy when a disease is added,
and equal parts (the vessels of fundus photograph and angiogram) are equal across modalities.
"""

import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from visionfm.synthetic.canvas import Array, Canvas, Colour, Points
from visionfm.synthetic.findings import Findings

CELLS = 14  # lattice cells across the side: one for each patch of a ViT/16 at 224 px
# Fine stripes and checks (periods across a cell in x and y) whose contrast follows a factor of the eye.
FACTOR_WEAVES = {
    "size": (3, 1),
    "vessel": (3, 0),
    "pigment": (3, 3),
    "tissue": (0, 3),
    "clarity": (1, 3),
    "age": (2, 3),
}


class Difficulty(NamedTuple):
    """How clearly signs show.

    `opacity` and `amount` scale the signs' contrast and number, `clutter` the variation between captures (0 none);
    `drift` is the share of a period by which an eye's marks are displaced together, so that averages over patches no
    longer add them up; `veil` scales what tints large areas.
    """

    opacity: float
    amount: float
    clutter: float
    drift: float
    veil: float


DIFFICULTIES = {
    "easy": Difficulty(opacity=1.0, amount=1.0, clutter=0.0, drift=0.0, veil=1.0),
    "hard": Difficulty(opacity=0.34, amount=0.5, clutter=1.0, drift=0.7, veil=0.4),
}


@dataclass
class Geometry:
    """What was drawn where: `masks` by name, float32 (S, S) in [0, 1]; `points` by name, (x, y) as shares of it."""

    masks: dict[str, Array] = field(default_factory=dict)
    points: dict[str, tuple[float, float]] = field(default_factory=dict)


class Scene:
    """What a modality's drawing function gets; it paints on `canvas` and notes shapes in `geometry`."""

    def __init__(
        self,
        findings: Findings,
        rng: np.random.Generator,
        size: int,
        difficulty: Difficulty,
        channels: int = 3,
        marks: bool = True,
    ) -> None:
        """`rng` stands for the eye: equal generators give equal anatomy in every modality."""
        self.findings = findings
        self.marks = marks
        self.difficulty = difficulty
        self.canvas = Canvas(size, channels)
        self.geometry = Geometry()
        self.nasal = 1 if findings.eye == "R" else -1  # the disc of a right eye lies on the image's right
        self._base = int(rng.integers(2**62))

    def stream(self, name: str) -> np.random.Generator:
        """Return the random stream of that name: always from its start."""
        return np.random.default_rng([self._base, zlib.crc32(name.encode())])

    def level(self, factor: str) -> float:
        """Return a factor of the eye on [0, 1]."""
        return self.findings.level(factor)

    def has(self, disease: str) -> bool:
        """Return whether the eye has that disease."""
        return self.findings.has(disease)

    def number(self, count: int) -> int:
        """Return how many marks of a sign to draw."""
        return max(2, round(count * self.difficulty.amount))

    def sign(self, name: str, mask: Array, colour: Colour, opacity: float = 1.0) -> None:
        """Paint a sign of disease, and keep its mask under `name`."""
        self.canvas.paint(mask, colour, opacity * self.difficulty.opacity)
        self.keep(name, mask)

    def tint(self, name: str, mask: Array, colour: Colour, opacity: float) -> None:
        """Paint a sign that covers a large area."""
        self.sign(name, mask, colour, opacity * self.difficulty.veil)

    def keep(self, name: str, mask: Array) -> None:
        """Note a mask (joined with what already has the name)."""
        known = self.geometry.masks.get(name)
        self.geometry.masks[name] = mask if known is None else np.maximum(known, mask)

    def weave(
        self, across: int, down: int, bend: Array | float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
    ) -> Array:
        """Return checks in [-1, 1] with that many periods a lattice cell; `bend` in radians, `shift` in cells."""
        x, y = (
            self.canvas.x * np.float32(CELLS) - np.float32(shift[0]),
            self.canvas.y * np.float32(CELLS) - np.float32(shift[1]),
        )
        along = np.cos(np.float32(2 * np.pi * across) * x + bend) if across else np.ones_like(x)
        return np.asarray(along * np.cos(np.float32(2 * np.pi * down) * y + bend) if down else along)

    def grain_of_tissue(self, contrast: float) -> Array:
        """Return the fine texture, around 0, that the eye's six factors give its tissue."""
        total = np.zeros_like(self.canvas.x)
        for factor, periods in FACTOR_WEAVES.items():
            total += np.float32(contrast * 2 * (self.level(factor) - 0.5)) * self.weave(*periods)
        return total

    def capture(self, grain: float, name: str) -> None:
        """Finish as a camera would: grain, and in hard mode exposure, tint and focus that differ between captures."""
        rng = self.stream(name)
        clutter = self.difficulty.clutter
        if clutter:
            canvas = self.canvas
            canvas.rgb *= np.float32(1 + clutter * rng.uniform(-0.25, 0.25))
            canvas.rgb *= (1 + clutter * rng.uniform(-0.08, 0.08, canvas.channels)).astype(np.float32)
            canvas.rgb *= (1 + np.float32(0.12 * clutter) * canvas.clouds(rng, 3))[..., None]
            canvas.blur(0.003 * clutter * rng.random())
            grain *= 1 + clutter * rng.random()
        self.canvas.rgb += (np.float32(grain) * self.canvas.grain(rng))[..., None]


def scattered(rng: np.random.Generator, count: int, x: float, y: float, radius: float, inner: float = 0.0) -> Points:
    """Return points (count, 2) spread evenly over a ring around (x, y)."""
    distance = np.sqrt(rng.uniform((inner / radius) ** 2, 1.0, count)) * radius
    angle = rng.uniform(0.0, 2 * np.pi, count)
    return np.stack([x + distance * np.cos(angle), y + distance * np.sin(angle)], axis=1)


def wander(rng: np.random.Generator, start: tuple[float, float], angle: float, length: float, wiggle: float) -> Points:
    """Return a smooth random walk (N, 2) that leaves `start` towards `angle`."""
    steps = max(4, round(length / 0.014))
    turns = rng.normal(0.0, wiggle, steps).cumsum()
    course = angle + turns - turns[-1] * 0.5 * np.arange(steps) / (steps - 1)
    moves = np.empty(steps + 1, np.complex128)
    moves[0] = complex(*start)
    np.exp(1j * course, out=moves[1:])
    moves[1:] *= length / steps
    return moves.cumsum().view(np.float64).reshape(-1, 2)
