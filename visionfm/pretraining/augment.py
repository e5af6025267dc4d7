"""Crops of an image and their random colours, as the published pretraining makes them, and the switches for eyes.

All arithmetic is Pillow's, on uint8 RGB, in the published order: crop, flip, jitter, grayscale, blur, solarize. Every
random number comes from the generator given. H/W px, S px of a crop's side, C = 3 (RGB).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from visionfm.images.pixels import Pixels
from visionfm.pretraining.boxes import Box, draw_box, lit_box, scaled, smallest_short, whole
from visionfm.pretraining.recipe import Augment

SOLARIZE_ABOVE = 128
GREY_WITHIN = 0.01  # channel means of a grey modality differ by less
CIRCLE_OF = "Fundus"
SQUARE = [1.0, 1.0]


class Kind(NamedTuple):
    """What kind of picture an image is, as far as augmentation asks."""

    modality: str
    grey: bool

    @classmethod
    def of(cls, modality: str, mean: Sequence[float]) -> "Kind":
        """Return the kind of a modality's images; grey is what has equal channels on average."""
        return cls(modality, max(mean) - min(mean) < GREY_WITHIN)


class Crop(NamedTuple):
    """One crop to make: its box on the whole image, its side, its chances of blur and of solarization."""

    box: Box
    size_px: int
    blur: float
    solarize: float


def side_needed(augment: Augment, size_px: int, kind: Kind, width: int, height: int) -> int:
    """Return the shorter side in px from which any crop may be taken without enlarging it: before a circle is known."""
    # The smallest circle that counts is half as wide as the image is high.
    region = (
        Box(0, 0, min(width, height) / 2, min(width, height) / 2) if _circled(augment, kind) else whole(width, height)
    )
    shorts = [(size_px, smallest_short(region, augment.global_scale, _ratio(augment, augment.global_ratio)))]
    if augment.local_crops:
        shorts.append(
            (augment.local_size, smallest_short(region, augment.local_scale, _ratio(augment, augment.local_ratio)))
        )
    return _needed(shorts, width, height)


def draw_crops(rng: np.random.Generator, augment: Augment, size_px: int, region: Box) -> list[Crop]:
    """Return the crops of an image inside a region of it: the global ones, then the local ones."""
    crops = []
    for number in range(augment.global_crops):
        box = draw_box(rng, region, augment.global_scale, _ratio(augment, augment.global_ratio))
        crops.append(Crop(box, size_px, augment.blur[min(number, 1)], augment.solarize if number else 0.0))
    for _ in range(augment.local_crops):
        box = draw_box(rng, region, augment.local_scale, _ratio(augment, augment.local_ratio))
        crops.append(Crop(box, augment.local_size, augment.local_blur, 0.0))
    return crops


def side_needed_by(crops: Sequence[Crop], width: int, height: int) -> int:
    """Return the shorter side in px that an image needs so that none of these crops is enlarged."""
    return _needed([(crop.size_px, crop.box.short) for crop in crops], width, height)


def _needed(shorts: Sequence[tuple[int, float]], width: int, height: int) -> int:
    return int(np.ceil(max(size * min(width, height) / short for size, short in shorts)))


def _ratio(augment: Augment, given: list[float]) -> list[float]:
    return SQUARE if augment.keep_aspect else given


def _circled(augment: Augment, kind: Kind) -> bool:
    return augment.fundus_circle and kind.modality == CIRCLE_OF


def region_before_reading(augment: Augment, kind: Kind, width: int, height: int) -> Box | None:
    """Return where crops may lie; None where the image's pixels have to tell."""
    return None if _circled(augment, kind) else whole(width, height)


def region_of(image_HWC: Pixels, width: int, height: int) -> Box:
    """Return the lit circle's box on the whole image, of which `image_HWC` may be a smaller copy."""
    return scaled(lit_box(image_HWC), width / image_HWC.shape[1], height / image_HWC.shape[0])


def make_crop(
    rng: np.random.Generator, image_HWC: Pixels, crop: Crop, augment: Augment, kind: Kind, width: int, height: int
) -> Pixels:
    """Return crop_SSC of an image, `image_HWC` being the image (`width` x `height`) or a smaller copy of it."""
    box = scaled(crop.box, image_HWC.shape[1] / width, image_HWC.shape[0] / height)
    return np.asarray(_coloured(rng, _cut(image_HWC, box, crop.size_px), crop, augment, kind))


def _cut(image_HWC: Pixels, box: Box, size_px: int) -> Image.Image:
    """Cut a box out, then resize it to a square, so that nothing outside the (whole pixels of the) box leaks in."""
    left, top = int(box.left), int(box.top)
    right = min(image_HWC.shape[1], int(np.ceil(box.left + box.width)))
    bottom = min(image_HWC.shape[0], int(np.ceil(box.top + box.height)))
    cut = Image.fromarray(np.ascontiguousarray(image_HWC[top:bottom, left:right]))
    inside = (
        box.left - left,
        box.top - top,
        min(box.left - left + box.width, cut.width),
        min(box.top - top + box.height, cut.height),
    )
    return cut.resize((size_px, size_px), Image.Resampling.BICUBIC, box=inside)


def _coloured(rng: np.random.Generator, image: Image.Image, crop: Crop, augment: Augment, kind: Kind) -> Image.Image:
    plain = augment.spare_grey and kind.grey
    if rng.random() < augment.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < augment.vertical_flip and kind.modality not in augment.upright:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if rng.random() < augment.jitter:
        image = jittered(rng, image, augment, plain)
    if rng.random() < augment.grayscale and not plain:
        image = image.convert("L").convert("RGB")
    if rng.random() < crop.blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(augment.blur_radius[0], augment.blur_radius[1])))
    if rng.random() < crop.solarize:
        image = ImageOps.solarize(image, SOLARIZE_ABOVE)
    return image


def jittered(rng: np.random.Generator, image: Image.Image, augment: Augment, plain: bool) -> Image.Image:
    """Change brightness, contrast, saturation and hue in random order; the last two not where `plain`."""

    def factor(spread: float) -> float:
        return float(rng.uniform(max(0.0, 1 - spread), 1 + spread))

    brightness, contrast, saturation = (
        factor(spread) for spread in (augment.brightness, augment.contrast, augment.saturation)
    )
    hue = float(rng.uniform(-augment.hue, augment.hue))
    for change in rng.permutation(4):
        if change == 0:
            image = ImageEnhance.Brightness(image).enhance(brightness)
        elif change == 1:
            image = ImageEnhance.Contrast(image).enhance(contrast)
        elif change == 2 and not plain:
            image = ImageEnhance.Color(image).enhance(saturation)
        elif change == 3 and not plain:
            image = turned(image, hue)
    return image


def turned(image: Image.Image, hue: float) -> Image.Image:
    """Turn the colour circle by `hue` of its whole, in steps of 1/255."""
    h, s, v = image.convert("HSV").split()
    steps = np.int32(hue * 255).astype(np.uint8)
    return Image.merge("HSV", (h.point([(value + int(steps)) % 256 for value in range(256)]), s, v)).convert("RGB")
