"""Augmentation is the published one, operation by operation; the switches for eyes do what they say."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageFilter
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as published

from visionfm.images.reading import decode
from visionfm.images.settings import Reading
from visionfm.modalities import MODALITIES
from visionfm.pretraining.augment import (
    Crop,
    Kind,
    draw_crops,
    jittered,
    make_crop,
    region_before_reading,
    region_of,
    side_needed,
    side_needed_by,
    turned,
)
from visionfm.pretraining.boxes import Box, draw_box, lit_box, smallest_short, whole
from visionfm.pretraining.recipe import Augment

FUNDUS, OCT = (Kind.of(name, MODALITIES[name].mean) for name in ("Fundus", "OCT"))
PUBLISHED = Augment()
STILL = Augment(flip=0, jitter=0, grayscale=0, blur=[0, 0], solarize=0)


class Script:
    """A generator that gives what it is told."""

    def __init__(self, *values: float, order: tuple[int, ...] = (0, 1, 2, 3)) -> None:
        self.values: Iterator[float] = iter(values)
        self.order = order

    def random(self) -> float:
        return next(self.values)

    def uniform(self, low: float, high: float) -> float:
        value = next(self.values)
        assert low <= value <= high
        return value

    def permutation(self, count: int) -> tuple[int, ...]:
        assert count == len(self.order)
        return self.order


def photograph(width: int = 300, height: int = 200) -> Image.Image:
    """Smooth colours with a fine pattern."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [np.sin(x / 17) * 60 + 120, np.cos(y / 23) * 50 + 100, (x * y) % 97 + 40]
    return Image.fromarray(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8))


def test_the_defaults_are_the_published_values() -> None:
    assert (PUBLISHED.global_crops, PUBLISHED.global_scale, PUBLISHED.global_ratio) == (2, [0.32, 1.0], [0.8, 1.2])
    assert (PUBLISHED.local_crops, PUBLISHED.local_size, PUBLISHED.local_scale) == (0, 96, [0.05, 0.4])
    assert (PUBLISHED.jitter, PUBLISHED.brightness, PUBLISHED.contrast) == (0.8, 0.4, 0.4)
    assert (PUBLISHED.saturation, PUBLISHED.hue, PUBLISHED.grayscale) == (0.2, 0.1, 0.2)
    assert (PUBLISHED.blur, PUBLISHED.local_blur, PUBLISHED.blur_radius) == ([1.0, 0.1], 0.5, [0.1, 2.0])
    assert (PUBLISHED.flip, PUBLISHED.vertical_flip, PUBLISHED.solarize) == (0.5, 0, 0.2)
    assert not (PUBLISHED.keep_aspect or PUBLISHED.fundus_circle or PUBLISHED.spare_grey)


def test_boxes_are_distributed_as_those_of_torchvision() -> None:
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (430, 290))
    boxes = np.array([draw_box(rng, whole(430, 290), [0.32, 1.0], [0.8, 1.2]) for _ in range(4000)])
    theirs = [RandomResizedCrop.get_params(image, [0.32, 1.0], [0.8, 1.2]) for _ in range(4000)]
    expected = np.array([(left, top, width, height) for top, left, height, width in theirs])
    assert np.abs(boxes.mean(0) - expected.mean(0)).max() < 3
    assert np.abs(boxes.std(0) - expected.std(0)).max() < 3
    shares = boxes[:, 2] * boxes[:, 3] / (430 * 290)
    assert shares.min() > 0.31 and shares.max() <= 1
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 430 and (boxes[:, 1] + boxes[:, 3]).max() <= 290


@pytest.mark.parametrize(("width", "height"), [(1000, 20), (20, 1000), (100, 100)])
def test_an_image_too_long_for_any_box_gives_the_largest_in_its_middle(width: int, height: int) -> None:
    box = draw_box(np.random.default_rng(0), whole(width, height), [1.0, 1.0], [0.8, 1.2])
    if width == height:
        return
    long, short = max(box.width, box.height), min(box.width, box.height)
    assert short == 20 and long in (24, 25)
    assert abs(box.left + box.width / 2 - width / 2) <= 1 and abs(box.top + box.height / 2 - height / 2) <= 1


def test_a_crop_is_cut_and_resized_as_published() -> None:
    image = photograph()
    box = Box(31, 12, 150, 140)
    ours = make_crop(np.random.default_rng(0), np.asarray(image), Crop(box, 64, 0, 0), STILL, FUNDUS, 300, 200)
    theirs = published.resized_crop(image, 12, 31, 140, 150, [64, 64], published.InterpolationMode.BICUBIC)
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_each_operation_is_the_published_one_in_the_published_order() -> None:
    image, order = photograph(64, 64), (3, 1, 0, 2)
    script = Script(0.4, 0.99, 0.7, 1.3, 0.75, 1.15, -0.07, 0.1, 0.9, 1.7, 0.1, order=order)
    #               flip  vert  jitter brightness contrast saturation hue  grey  blur radius solarize
    ours = make_crop(script, np.asarray(image), Crop(whole(64, 64), 64, 0.95, 0.2), PUBLISHED, FUNDUS, 64, 64)  # type: ignore[arg-type]
    theirs = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    theirs = published.adjust_contrast(published.adjust_hue(theirs, -0.07), 0.75)
    theirs = published.adjust_saturation(published.adjust_brightness(theirs, 1.3), 1.15)
    theirs = published.rgb_to_grayscale(theirs, 3).filter(ImageFilter.GaussianBlur(1.7))
    np.testing.assert_array_equal(ours, np.asarray(published.solarize(theirs, 128)))
    assert next(script.values, None) is None


@pytest.mark.parametrize("hue", np.linspace(-0.1, 0.1, 9).tolist())
def test_hue_is_turned_as_published(hue: float) -> None:
    image = photograph(64, 64)
    np.testing.assert_array_equal(np.asarray(turned(image, hue)), np.asarray(published.adjust_hue(image, hue)))


def test_only_the_first_global_crop_is_always_blurred_and_never_solarized() -> None:
    crops = draw_crops(np.random.default_rng(0), Augment(local_crops=2), 224, whole(300, 200))
    assert [(crop.size_px, crop.blur, crop.solarize) for crop in crops] == [
        (224, 1.0, 0.0),
        (224, 0.1, 0.2),
        (96, 0.5, 0.0),
        (96, 0.5, 0.0),
    ]


def test_keeping_the_aspect_takes_squares() -> None:
    crops = draw_crops(np.random.default_rng(0), Augment(keep_aspect=True, local_crops=8), 224, whole(400, 300))
    assert all(abs(crop.box.width - crop.box.height) <= 1 for crop in crops)


def test_grey_modalities_keep_their_grey_where_asked() -> None:
    assert [name for name, one in MODALITIES.items() if Kind.of(name, one.mean).grey] == [
        "OCT",
        "FFA",
        "Ultrasound",
        "MRI",
        "UBM",
    ]
    tinted = photograph(64, 64)
    script = Script(1.0, 1.0, 1.2, 0.1)
    plain = jittered(script, tinted, Augment(spare_grey=True), plain=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.asarray(plain), np.asarray(tinted))


def test_oct_is_never_turned_upside_down() -> None:
    image_HWC = np.asarray(photograph(64, 64))
    switches = STILL.model_copy(update={"vertical_flip": 1.0})
    crop = Crop(whole(64, 64), 64, 0, 0)
    flipped, upright = (
        make_crop(np.random.default_rng(0), image_HWC, crop, switches, kind, 64, 64) for kind in (FUNDUS, OCT)
    )
    np.testing.assert_array_equal(flipped, image_HWC[::-1])
    np.testing.assert_array_equal(upright, image_HWC)


def circle(width: int, height: int, x: int, y: int, radius: int) -> np.ndarray:
    """A fundus photograph: a lit circle on a black surround with some noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    inside_HW = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    image_HWC = np.random.default_rng(0).integers(0, 8, (height, width, 3))
    image_HWC[inside_HW] += np.array([150, 80, 30])
    return image_HWC.astype(np.uint8)


def test_crops_are_taken_from_the_lit_circle() -> None:
    image_HWC = circle(900, 600, 430, 300, 250)
    found = lit_box(image_HWC)
    assert np.abs(np.array(found) - (180, 50, 500, 500)).max() < 16
    switches = Augment(fundus_circle=True)
    assert region_before_reading(switches, FUNDUS, 900, 600) is None
    assert region_before_reading(switches, OCT, 900, 600) == whole(900, 600)
    half = np.ascontiguousarray(image_HWC[::2, ::2])
    assert np.abs(np.array(region_of(half, 900, 600)) - np.array(found)).max() < 16
    boxes = [crop.box for seed in range(50) for crop in draw_crops(np.random.default_rng(seed), switches, 224, found)]
    assert min(box.left for box in boxes) >= found.left
    assert max(box.left + box.width for box in boxes) <= found.left + found.width


@pytest.mark.parametrize("image_HWC", [circle(300, 300, 150, 150, 20), np.zeros((300, 300, 3), np.uint8)])
def test_an_image_without_a_circle_is_taken_whole(image_HWC: np.ndarray) -> None:
    assert lit_box(image_HWC) == whole(300, 300)


def test_no_box_is_smaller_than_the_bound_that_shrinking_goes_by() -> None:
    for region in (whole(400, 300), whole(900, 40)):
        bound = smallest_short(region, [0.05, 0.4], [3 / 4, 4 / 3])
        rng = np.random.default_rng(0)
        boxes = [draw_box(rng, region, [0.05, 0.4], [3 / 4, 4 / 3]) for _ in range(2000)]
        assert min(box.short for box in boxes) >= bound
    local = Augment(local_crops=1)
    crops = draw_crops(np.random.default_rng(0), local, 224, whole(4288, 2848))
    assert side_needed_by(crops, 4288, 2848) <= side_needed(local, 224, FUNDUS, 4288, 2848)


def test_a_crop_of_a_jpeg_shrunk_on_load_looks_like_that_of_the_whole() -> None:
    image = photograph().resize((2400, 1600), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    crops = draw_crops(np.random.default_rng(3), STILL, 96, whole(2400, 1600))
    data, need_px = buffer.getvalue(), side_needed_by(crops, 2400, 1600)
    full = decode(data, Reading(), target_px=None, exact=True, where="x.jpg")
    small = decode(data, Reading(), target_px=need_px, exact=False, where="x.jpg")
    assert small.shape[0] < full.shape[0] / 3
    for crop in crops:
        ours, exact = (
            make_crop(np.random.default_rng(0), pixels, crop, STILL, FUNDUS, 2400, 1600).astype(int)
            for pixels in (small, full)
        )
        assert np.abs(ours - exact).mean() < 1.5
