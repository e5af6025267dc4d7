"""Drawings: every sign shows in every modality, anatomy holds still, equal seeds give equal bytes."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from visionfm.synthetic.drawing import DRAWERS, draw, render
from visionfm.synthetic.findings import DISEASES, NOT_GRADED, Findings, disease_vector
from visionfm.synthetic.signs import SIGNS

SIZE = 96
MIDDLE = (0.5,) * 6


def eye(sign: str = "Healthy", factors: tuple[float, ...] = MIDDLE, side: str = "R") -> Findings:
    grade = DISEASES.index(sign) if sign.startswith("DR-") else 0
    others = {sign} if sign in NOT_GRADED else set()
    return Findings(eye=side, diseases=disease_vector(grade, others), values=(0.0,) * 38, factors=factors)


def picture(modality: str, findings: Findings, difficulty: str = "easy", size: int = SIZE) -> npt.NDArray[np.float64]:
    return draw(modality, findings, np.random.default_rng(3), size, difficulty).astype(np.float64)


def test_all_eight_modalities_can_be_drawn() -> None:
    from visionfm.modalities import MODALITIES

    assert set(DRAWERS) == set(MODALITIES)


@pytest.mark.parametrize("modality", DRAWERS)
def test_an_image_is_rgb_bytes_of_the_size_asked_for_and_equal_when_drawn_again(modality: str) -> None:
    image = draw(modality, eye("DR-4"), np.random.default_rng(3), 80)
    assert image.shape == (80, 80, 3) and image.dtype == np.uint8
    assert np.array_equal(image, draw(modality, eye("DR-4"), np.random.default_rng(3), 80))
    assert not np.array_equal(image, draw(modality, eye("DR-4"), np.random.default_rng(4), 80))


@pytest.mark.parametrize("modality", DRAWERS)
def test_every_sign_shows_and_no_two_look_alike(modality: str) -> None:
    healthy = picture(modality, eye())
    changes = {sign: picture(modality, eye(sign)) - healthy for sign in SIGNS}
    for sign, change in changes.items():
        assert np.abs(change).mean() > 0.5, f"{sign} changes the picture by {np.abs(change).mean():.2f} grey levels"
    for first in SIGNS:
        for second in SIGNS[SIGNS.index(first) + 1 :]:
            a, b = changes[first].ravel(), changes[second].ravel()
            assert a @ b < 0.85 * np.sqrt((a @ a) * (b @ b)), f"{first} and {second} look alike"


@pytest.mark.parametrize("modality", DRAWERS)
def test_every_factor_changes_the_picture(modality: str) -> None:
    for index in range(6):
        low, high = (tuple(level if i == index else 0.5 for i in range(6)) for level in (0.0, 1.0))
        change = picture(modality, eye(factors=high)) - picture(modality, eye(factors=low))
        assert np.abs(change).mean() > 1.0


@pytest.mark.parametrize("modality", DRAWERS)
def test_signs_are_fainter_in_the_hard_set(modality: str) -> None:
    for sign in ("DR-2", "Glaucoma", "AMD"):
        change = {
            difficulty: np.abs(picture(modality, eye(sign), difficulty) - picture(modality, eye(), difficulty)).mean()
            for difficulty in ("easy", "hard")
        }
        assert change["hard"] < 0.75 * change["easy"], sign


@pytest.mark.parametrize("modality", DRAWERS)
def test_a_smaller_image_is_the_same_drawing(modality: str) -> None:
    large = Image.fromarray(draw(modality, eye("DR-3"), np.random.default_rng(3), 256)).resize(
        (32, 32), Image.Resampling.BOX
    )
    small = Image.fromarray(draw(modality, eye("DR-3"), np.random.default_rng(3), 128)).resize(
        (32, 32), Image.Resampling.BOX
    )
    assert np.abs(np.asarray(large, np.float64) - np.asarray(small, np.float64)).mean() < 6


@pytest.mark.parametrize("modality", DRAWERS)
def test_geometry_gives_masks_and_points_of_what_was_drawn(modality: str) -> None:
    image, geometry = render(modality, eye("AMD"), np.random.default_rng(3), SIZE)
    assert "AMD" in geometry.masks and len(geometry.masks) > 1 and geometry.points
    for mask in geometry.masks.values():
        assert mask.shape == image.shape[:2]
        assert mask.min() >= 0 and mask.max() <= 1.5 and mask.max() > 0
    for x, y in geometry.points.values():
        assert 0 < x < 1 and 0 < y < 1


def test_the_disc_is_where_the_geometry_says_and_on_the_nasal_side() -> None:
    for side, nasal in (("R", 1), ("L", -1)):
        for modality in ("Fundus", "FFA"):
            _, geometry = render(modality, eye(side=side), np.random.default_rng(3), SIZE)
            x, y = geometry.points["disc"]
            assert (x - 0.5) * nasal > 0
            rows, columns = np.nonzero(geometry.masks["disc"] > 0.5)
            assert abs(columns.mean() / SIZE - x) < 0.02 and abs(rows.mean() / SIZE - y) < 0.02


def test_fundus_and_angiogram_of_an_eye_show_the_same_vessels_whatever_its_diseases() -> None:
    _, fundus = render("Fundus", eye(), np.random.default_rng(3), SIZE)
    _, angiogram = render("FFA", eye("DR-4"), np.random.default_rng(3), SIZE)
    for name in ("veins", "arteries", "disc"):
        np.testing.assert_array_equal(fundus.masks[name] > 0.5, angiogram.masks[name] > 0.5)


def test_a_sign_changes_only_the_pixels_of_its_mask() -> None:
    healthy = draw("Fundus", eye(), np.random.default_rng(3), SIZE)
    ill, geometry = render("Fundus", eye("DR-1"), np.random.default_rng(3), SIZE)
    changed = (healthy != ill).any(axis=2)
    assert changed.any()
    assert not (changed & (geometry.masks["DR-1"] == 0)).any()
