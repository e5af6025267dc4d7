"""A small grey picture of an image's lit field, by which copies of a photograph are found.

The black border is cut off: its width tells of a program, not of an eye. The sides keep their ratio, the longer one has
64 px; the rest is black. It is stored as a JPEG of about a kilobyte, for an index has one for each of its images.
"""

import io

import numpy as np
from PIL import Image

from visionfm.images.pixels import Pixels

THUMBNAIL_PX = 64
QUALITY = 92
DECODE_PX = 2 * THUMBNAIL_PX  # sides of the image that a thumbnail is made from: at least so many, where it has them
DARK, DARKEST, LIT_SHARE = 0.06, 8, 0.03  # of the brightest; of 255; of a line that belongs to the field


def thumbnail(image_HWC: Pixels) -> bytes:
    """Return the thumbnail of an image, as the bytes of a grey JPEG of 64 x 64 px."""
    image = Image.fromarray(image_HWC)
    image = image.reduce(max(1, min(image.size) // (4 * THUMBNAIL_PX))).convert("L")
    light_HW = np.asarray(image)
    bright = float(np.quantile(light_HW, 0.99))
    lit_HW = light_HW > max(DARKEST, DARK * bright)
    rows, columns = (np.flatnonzero(lit_HW.mean(axis) > LIT_SHARE) for axis in (1, 0))
    if len(rows) and len(columns):
        image = image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    scale = THUMBNAIL_PX / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    whole = Image.new("L", (THUMBNAIL_PX, THUMBNAIL_PX))
    whole.paste(image.resize((width, height), way), ((THUMBNAIL_PX - width) // 2, (THUMBNAIL_PX - height) // 2))
    written = io.BytesIO()
    whole.save(written, "JPEG", quality=QUALITY)
    return written.getvalue()
