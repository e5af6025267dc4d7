"""Points and masks go where their image's pixels go: a marked pixel is found at the point, after every change."""

import numpy as np
import pytest
from PIL import Image

from visionfm.images.geometry import (
    Affine,
    flip_mask,
    flip_points,
    inside,
    resize_mask,
    resize_points,
    upright_point,
)
from visionfm.images.pixels import oriented
from visionfm.images.transforms import VIEWS, flip, resize_square

WIDTH, HEIGHT, AT = 31, 20, (23, 6)


def marked() -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[AT[1], AT[0]] = 255
    return image


def place(image: np.ndarray) -> tuple[float, float]:
    """Return the centre of brightness, (x, y)."""
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]]
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif(orientation: int) -> None:
    image = oriented(marked(), orientation)
    size = image.shape[1::-1]
    assert upright_point(*AT, orientation, size) == place(image)


@pytest.mark.parametrize("view", VIEWS)
def test_flips(view: str) -> None:
    image = flip(marked(), view)
    assert tuple(flip_points(np.array([AT]), view, (WIDTH, HEIGHT))[0]) == place(image)
    assert np.array_equal(flip_mask(marked()[..., 0], view), image[..., 0])


@pytest.mark.parametrize("side", [16, 64])
def test_resizing_moves_points_with_the_image(side: int) -> None:
    spot = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    spot[4:9, 20:27] = 255
    expected = place(resize_square(spot, side, "bilinear"))
    assert resize_points(np.array([place(spot)]), (WIDTH, HEIGHT), (side, side))[0] == pytest.approx(expected, abs=0.05)
    back = resize_points(resize_points(np.array([AT]), (31, 20), (16, 16)), (16, 16), (31, 20))
    assert back[0] == pytest.approx(AT)


def test_masks_are_resized_by_the_class_at_a_pixels_centre() -> None:
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert np.array_equal(resize_mask(resize_mask(mask, (12, 8)), (4, 4)), mask)
    assert set(resize_mask(mask, (3, 3)).ravel()) <= set(mask.ravel())


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(30, 1, (0, 0)), (-5, 1.1, (3, -2)), (90, 0.8, (0, 4))])
def test_affine_maps_move_image_mask_and_points_alike(degrees: float, scale: float, shift: tuple) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[7:10, 15:18] = 255
    affine = Affine.about_centre((WIDTH, HEIGHT), degrees=degrees, scale=scale, shift_px=shift)
    expected = affine.points(np.array([place(image)]))[0]
    assert place(affine.image(image)) == pytest.approx(expected, abs=0.2)
    assert place(affine.mask(image[..., 0])[..., None]) == pytest.approx(expected, abs=0.6)


def test_the_identity_changes_no_pixel() -> None:
    affine = Affine.about_centre((WIDTH, HEIGHT))
    assert np.array_equal(affine.image(marked()), marked())
    assert np.array_equal(affine.mask(marked()[..., 0]), marked()[..., 0])


def test_a_positive_angle_turns_clockwise_as_seen() -> None:
    affine = Affine.about_centre((11, 11), degrees=90)
    assert affine.points(np.array([[10.0, 5.0]]))[0] == pytest.approx((5, 10))


def test_the_border_belongs_to_the_image() -> None:
    assert inside(-0.5, 0, (4, 3)) and inside(3.5, 2.5, (4, 3))
    assert not inside(3.6, 0, (4, 3)) and not inside(0, -0.6, (4, 3))


def test_exif_agrees_with_pillow() -> None:
    from PIL import ImageOps

    for orientation in range(1, 9):
        image = Image.fromarray(marked())
        image.getexif()[274] = orientation
        turned = np.asarray(ImageOps.exif_transpose(image))
        assert place(turned) == upright_point(*AT, orientation, turned.shape[1::-1])
