"""Overlays show each pixel in the colour that the legend explains, and points where they lie."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from visionfm.figures import overlays as o

GREY = np.full((6, 8, 3), 100, np.uint8)


def test_classes_are_painted_in_their_colour_and_the_background_is_left_alone() -> None:
    classes = np.zeros((6, 8), np.uint8)
    classes[0, 0], classes[5, 7] = 1, 2
    painted = o.paint_classes(GREY, classes)
    assert np.array_equal(painted[2, 2], GREY[2, 2])
    for (row, column), index in (((0, 0), 1), ((5, 7), 2)):
        expected = 0.35 * 100 + 0.65 * np.array(o.class_colour(index))
        assert np.abs(painted[row, column] - expected).max() <= 1


def test_errors_have_their_four_colours() -> None:
    truth = np.array([[0, 1, 1, 0, 1]], np.uint8)
    said = np.array([[0, 1, 0, 1, 2]], np.uint8)
    painted = o.paint_errors(GREY[:1, :5], truth, said)
    assert painted[0].tolist() == [[75, 75, 75], *map(list, (o.RIGHT, o.MISSED, o.FALSE, o.CONFUSED))]


def test_nothing_is_right_or_wrong_outside_the_field_of_view() -> None:
    truth, said = np.ones((1, 4), np.uint8), np.zeros((1, 4), np.uint8)
    painted = o.paint_errors(GREY[:1, :4], truth, said, np.array([[True, True, False, False]]))
    assert painted[0, 0].tolist() == list(o.MISSED) and painted[0, 3].tolist() == [26, 26, 26]


def test_the_colours_of_classes_and_errors_differ() -> None:
    colours = [*o.CLASS_COLOURS, *(colour for colour, _ in o.ERRORS)]
    apart = [np.abs(np.subtract(one, other)).sum() for i, one in enumerate(colours) for other in colours[:i]]
    assert min(apart) > 60


@pytest.mark.parametrize(("width", "height"), [(800, 600), (600, 800), (300, 300)])
def test_a_ring_lies_around_the_true_point_and_a_cross_on_the_predicted_one(width: int, height: int) -> None:
    """Landscape, portrait and square, larger and smaller than the pane."""
    image = np.zeros((height, width, 3), np.uint8)
    drawn = o.paint_points(image, [(width / 4, height / 2)], [(width * 3 / 4, height / 2)], 400)
    picture = np.asarray(drawn).astype(int)
    lit = picture.sum(axis=2) > 200
    rows, columns = np.nonzero(lit)
    side = min(400, max(width, height)) / max(width, height)
    at_true, at_said = (width / 4 * side, height / 2 * side), (width * 3 / 4 * side, height / 2 * side)
    ring = lit[int(at_true[1]) - 7 : int(at_true[1]) + 8, int(at_true[0]) - 8 : int(at_true[0]) + 9]
    assert ring[0].any() and ring[-1].any()  # a circle above and below, of radius 7
    assert abs(columns.max() - (at_said[0] + 5)) <= 2 and abs(rows.mean() - at_true[1]) <= 1.5
    assert lit[int(at_true[1]), int((at_true[0] + at_said[0]) / 2)]  # the line between them


def test_absent_points_leave_the_picture_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    drawn = o.paint_points(image, [None], [None], 60)
    assert np.abs(np.asarray(drawn).astype(int) - image).mean() < 25


def test_pictures_are_small_jpegs_with_equal_bytes() -> None:
    uri = o.data_uri(o.shrunk(np.zeros((500, 900, 3), np.uint8), 300))
    assert uri == o.data_uri(o.shrunk(np.zeros((500, 900, 3), np.uint8), 300))
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert picture.format == "JPEG" and picture.size == (300, 167)
