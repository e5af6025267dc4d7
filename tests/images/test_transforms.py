"""What is true of the resize and the views."""

import io

import numpy as np
import pytest
from PIL import Image

from visionfm.images.transforms import VIEWS, flip, resize_square, transform_name

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_is_pils_antialiased_filter_to_a_square(interpolation):
    expected = Image.fromarray(IMAGE).resize((32, 32), getattr(Image.Resampling, interpolation.upper()))
    assert np.array_equal(resize_square(IMAGE, 32, interpolation), np.asarray(expected))


def test_an_image_of_the_right_size_is_unchanged():
    square = IMAGE[:48, :48]
    assert np.array_equal(resize_square(square, 48, "bilinear"), square)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("view", VIEWS)
def test_flipping_before_or_after_the_resize_is_the_same(view, interpolation):
    before = resize_square(flip(IMAGE, view), 32, interpolation).astype(int)
    after = flip(resize_square(IMAGE, 32, interpolation), view).astype(int)
    assert np.abs(before - after).max() <= 1


def test_the_four_views_are_distinct_and_each_undoes_itself():
    views = [flip(IMAGE, view) for view in VIEWS]
    assert len({view.tobytes() for view in views}) == 4
    assert all(np.array_equal(flip(flip(IMAGE, view), view), IMAGE) for view in VIEWS)
    assert np.array_equal(flip(IMAGE, "h")[:, 0], IMAGE[:, -1])
    assert np.array_equal(flip(IMAGE, "v")[0], IMAGE[-1])
    assert all(view.flags.c_contiguous for view in views)


@pytest.mark.parametrize("image", [IMAGE.astype(np.float32), IMAGE[..., 0], IMAGE[:0], np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_rgb_image_is_refused(image):
    with pytest.raises(ValueError, match="expected uint8"):
        resize_square(image, 32, "bilinear")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="bilinear"):
        resize_square(IMAGE, 32, "nearest")
    with pytest.raises(ValueError, match="identity"):
        flip(IMAGE, "diagonal")


def test_a_transforms_name_tells_all_that_changes_its_pixels():
    assert transform_name(224, "bilinear", exact=False) == "square224-bilinear-fast"
    names = {transform_name(s, i, e) for s in (224, 512) for i in ("bilinear", "bicubic") for e in (True, False)}
    assert len(names) == 8


def test_resize_of_a_decoded_file_is_repeatable():
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, "PNG")
    one, two = (resize_square(np.asarray(Image.open(buffer)), 24, "bicubic") for _ in range(2))
    assert one.tobytes() == two.tobytes() and one.flags.writeable
