"""A float RGB canvas with anti-aliased shapes, textures and blending: what all the drawings are made with.

Coordinates are in units of the image's side, x to the right and y down, so that a drawing does not depend on the size.
Shapes come as masks (S, S) in [0, 1]: drawn with PIL at twice the size at least and reduced, or computed per pixel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Array = npt.NDArray[np.floating[Any]]  # (S, S) or (S,), computed as float32
Points = npt.NDArray[np.float64]  # (N, 2) x, y
Colour = tuple[float, float, float] | float
SUPERSAMPLED_PX = 640


class Canvas:
    """A square picture `rgb` (S, S, C) float32 in [0, 1], black at first, and the grids `x`, `y` (S, S)."""

    def __init__(self, size: int, channels: int = 3) -> None:
        """`size` is the side in pixels, `channels` 3 for colour and 1 for grey."""
        self.size = size
        self.channels = channels
        self.factor = max(2, -(-SUPERSAMPLED_PX // size))
        steps = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
        self.x, self.y = (np.ascontiguousarray(grid) for grid in np.meshgrid(steps, steps))
        self.rgb: Array = np.zeros((size, size, channels), np.float32)

    # Shapes --------------------------------------------------------------------------------------------------------
    def ellipse(
        self, x: float, y: float, rx: float, ry: float | None = None, angle: float = 0.0, soft: float = 0.0
    ) -> Array:
        """Mask of an ellipse; `angle` in radians, `soft` the width of its edge (0: one pixel)."""
        ry = rx if ry is None else ry
        distance = self.distance(x, y, rx, ry, angle)
        edge = max(soft, 1.0 / self.size) / min(rx, ry)
        return clipped((1.0 - distance) / np.float32(edge) + np.float32(0.5))

    def distance(self, x: float, y: float, rx: float = 1.0, ry: float | None = None, angle: float = 0.0) -> Array:
        """Distance from (x, y) in units of the radii: 1 on the ellipse."""
        ry = rx if ry is None else ry
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        u = (dx * np.float32(cos) + dy * np.float32(sin)) / np.float32(rx)
        v = (dy * np.float32(cos) - dx * np.float32(sin)) / np.float32(ry)
        return np.sqrt(u * u + v * v)

    def glow(self, x: float, y: float, rx: float, ry: float | None = None, angle: float = 0.0) -> Array:
        """Mask of a Gaussian spot with those standard deviations."""
        distance = self.distance(x, y, rx, ry, angle)
        return np.asarray(np.exp(np.float32(-0.5) * distance * distance))

    def sector(self, x: float, y: float, towards: float, half_angle: float, soft: float = 0.15) -> Array:
        """Mask of the directions from (x, y) within `half_angle` of the angle `towards` (radians, y down)."""
        direction = np.arctan2(self.y - np.float32(y), self.x - np.float32(x))
        off = np.abs((direction - np.float32(towards) + np.float32(np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi))
        return clipped((np.float32(half_angle) - off) / np.float32(soft) + np.float32(0.5))

    def below(self, edge_W: Array, soft: float = 0.0) -> Array:
        """Mask of what lies below a line given by its y for each pixel column (S,)."""
        return clipped((self.y - edge_W[None, :]) / np.float32(max(soft, 1.0 / self.size)) + np.float32(0.5))

    def between(self, top_W: Array, bottom_W: Array, soft: float = 0.0) -> Array:
        """Mask of what lies between two lines given by their y for each pixel column."""
        return clipped(self.below(top_W, soft) - self.below(bottom_W, soft))

    def polygon(self, points: Points) -> Array:
        """Mask of a filled polygon."""
        plane, pen = self._plane()
        pen.polygon(self._pixels(points), fill=255)
        return self._reduced(plane)

    def dots(self, points: Points, radii: npt.NDArray[np.float64] | float) -> Array:
        """Mask of discs at `points` (N, 2) with `radii` (N,) or one radius."""
        plane, pen = self._plane()
        scale = self.size * self.factor
        for (x, y), radius in zip(points * scale, np.broadcast_to(radii, len(points)) * scale, strict=True):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        return self._reduced(plane)

    def strokes(self, lines: Sequence[Points], widths: npt.ArrayLike) -> Array:
        """Mask of polylines, each of its own width."""
        plane, pen = self._plane()
        scale = self.size * self.factor
        for line, width in zip(lines, np.broadcast_to(widths, len(lines)), strict=True):
            pen.line(self._pixels(line), fill=255, width=max(1, round(float(width) * scale)), joint="curve")
        return self._reduced(plane)

    # Textures ------------------------------------------------------------------------------------------------------
    def clouds(self, rng: np.random.Generator, cells: int, cells_y: int | None = None) -> Array:
        """Smooth noise of mean 0 and standard deviation about 1, with `cells` (by `cells_y`) bumps across."""
        grid = rng.standard_normal((cells_y or cells, cells), dtype=np.float32)
        return self._enlarged(grid)

    def wave(self, rng: np.random.Generator, bumps: int) -> Array:
        """Smooth line (S,), mean 0 and standard deviation about 1."""
        return np.asarray(self._enlarged(rng.standard_normal((1, bumps), dtype=np.float32))[0])

    def grain(self, rng: np.random.Generator) -> Array:
        """Unit noise, independent in every pixel."""
        return rng.standard_normal((self.size, self.size), dtype=np.float32)

    def blurred(self, mask: Array, sigma: float) -> Array:
        """Return the mask smoothed with a Gaussian of that standard deviation (8-bit precision)."""
        plane = Image.fromarray(_bytes(mask)).filter(ImageFilter.GaussianBlur(sigma * self.size))
        return np.asarray(plane, np.float32) / np.float32(255)

    # Painting ------------------------------------------------------------------------------------------------------
    def paint(self, mask: Array, colour: Colour, opacity: float = 1.0) -> None:
        """Blend towards `colour` where the mask is."""
        weight = (mask * np.float32(opacity))[..., None]
        change = np.asarray(colour, np.float32) - self.rgb
        change *= weight
        self.rgb += change

    def add(self, mask: Array, colour: Colour) -> None:
        """Add `colour` times the mask."""
        self.rgb += mask[..., None] * np.asarray(colour, np.float32)

    def multiply(self, mask: Array, colour: Colour) -> None:
        """Multiply by `colour` where the mask is."""
        self.rgb *= 1 + mask[..., None] * (np.asarray(colour, np.float32) - 1)

    def blur(self, sigma: float) -> None:
        """Smooth the whole picture (8-bit precision)."""
        for channel in range(self.channels):
            self.rgb[..., channel] = self.blurred(self.rgb[..., channel], sigma)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return the picture as uint8 RGB (S, S, 3)."""
        return np.ascontiguousarray(np.broadcast_to(_bytes(self.rgb), (self.size, self.size, 3)))

    # Below ---------------------------------------------------------------------------------------------------------
    def _plane(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        side = self.size * self.factor
        plane = Image.new("L", (side, side))
        return plane, ImageDraw.Draw(plane)

    def _pixels(self, points: Points) -> list[float]:
        return (points * (self.size * self.factor)).ravel().tolist()

    def _reduced(self, plane: Image.Image) -> Array:
        return np.asarray(plane.reduce(self.factor), np.float32) / np.float32(255)

    def _enlarged(self, grid: Array) -> Array:
        image = Image.fromarray(grid).resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(image, np.float32) * np.float32(1.3)


def clipped(values: npt.ArrayLike) -> Array:
    """Return the values, held between 0 and 1."""
    return np.asarray(np.clip(values, 0.0, 1.0), np.float32)


def _bytes(values: Array) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
