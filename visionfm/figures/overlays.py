"""Pictures of one image's masks or points: truth, prediction and errors laid over the image; pure functions of arrays.

All inputs are upright and of the image's own size; pictures are shrunk after painting, so that thin vessels fade
rather than vanish. Shapes: H/W px, C = 3 (RGB).
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]
Place = tuple[float, float] | None
PANE_PX = 340
# Colour-blind-safe, and none of them among the colours of errors.
CLASS_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),
    (240, 228, 66),
    (230, 159, 0),
    (178, 223, 138),
    (255, 255, 255),
    (166, 118, 255),
)
RIGHT, MISSED, FALSE, CONFUSED = (0, 158, 115), (213, 94, 0), (0, 114, 255), (230, 120, 200)
ERRORS = (
    (RIGHT, "found"),
    (MISSED, "missed: in the truth alone"),
    (FALSE, "false: in the prediction alone"),
    (CONFUSED, "another class than the truth"),
)
_OPACITY, _DIMMED = 0.65, 0.35


def class_colour(index: int) -> Colour:
    """Return the colour of a class other than the background, or of the index-1-th point."""
    return CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)]


def hexadecimal(colour: Colour) -> str:
    """Return a colour as a style sheet has it."""
    return "#" + "".join(f"{value:02x}" for value in colour)


def paint_classes(image_HWC: Pixels, classes_HW: Pixels) -> Pixels:
    """Return the image with every class but the background in its colour."""
    painted = image_HWC.astype(np.float32)
    for index in np.unique(classes_HW):
        if index > 0:
            at = classes_HW == index
            painted[at] = (1 - _OPACITY) * painted[at] + _OPACITY * np.array(class_colour(int(index)), np.float32)
    return painted.round().astype(np.uint8)


def paint_errors(image_HWC: Pixels, truth_HW: Pixels, predicted_HW: Pixels, inside_HW: Mask | None = None) -> Pixels:
    """Return the image in grey with right and wrong pixels in colour; outside the field of view it is dimmed."""
    grey_HW = image_HWC.astype(np.float32).mean(axis=2) * 0.75
    painted = np.repeat(grey_HW[:, :, None], 3, axis=2)
    seen_HW = np.ones(truth_HW.shape, bool) if inside_HW is None else inside_HW
    true_HW, said_HW = truth_HW > 0, predicted_HW > 0
    same_HW = truth_HW == predicted_HW
    for colour, at_HW in (
        (RIGHT, true_HW & same_HW),
        (MISSED, true_HW & ~said_HW),
        (FALSE, ~true_HW & said_HW),
        (CONFUSED, true_HW & said_HW & ~same_HW),
    ):
        painted[at_HW & seen_HW] = colour
    painted[~seen_HW] *= _DIMMED
    return painted.round().astype(np.uint8)


def paint_points(image_HWC: Pixels, truth: Sequence[Place], predicted: Sequence[Place], pane_px: int) -> Image.Image:
    """Return the shrunk image with a ring at each true point, a cross at the predicted one, a line between them."""
    height, width = image_HWC.shape[:2]
    picture = shrunk(image_HWC, pane_px)
    scale = (picture.width / width, picture.height / height)
    factor = 2  # drawn larger and reduced, for smooth lines
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for index, (true, said) in enumerate(zip(truth, predicted, strict=True), 1):
        at_true, at_said = (_moved(place, scale, factor) for place in (true, said))
        for ink, wide in (((0, 0, 0), 3), (class_colour(index), 1)):
            stroke, radius, arm = wide * factor, 7 * factor, 5 * factor
            if at_true and at_said:
                pen.line([at_true, at_said], fill=ink, width=stroke)
            if at_true:
                x, y = at_true
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=stroke)
            if at_said:
                x, y = at_said
                pen.line([(x - arm, y - arm), (x + arm, y + arm)], fill=ink, width=stroke)
                pen.line([(x - arm, y + arm), (x + arm, y - arm)], fill=ink, width=stroke)
    return picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.LANCZOS)


def _moved(place: Place, scale: tuple[float, float], factor: int) -> tuple[float, float] | None:
    """Return a point in the enlarged picture's own coordinates, in which a pixel's centre lies at a half."""
    if place is None:
        return None
    return (place[0] + 0.5) * scale[0] * factor, (place[1] + 0.5) * scale[1] * factor


def shrunk(image_HWC: Pixels, pane_px: int) -> Image.Image:
    """Return a picture whose longer side is `pane_px` at most."""
    picture = Image.fromarray(image_HWC)
    picture.thumbnail((pane_px, pane_px), Image.Resampling.LANCZOS)
    return picture


def data_uri(picture: Image.Image) -> str:
    """Return a picture as a JPEG data URI."""
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=85, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
