"""What `predict` writes of points: a row per image and point, in px of the original image."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from visionfm.images.geometry import resize_points
from visionfm.tasks.maps.predict import Archives, Image
from visionfm.tasks.maps.settings import DensePredictSettings, reading_of

if TYPE_CHECKING:
    from visionfm.tasks.maps.applied import Applied

COLUMNS = dict.fromkeys(("x", "y", "score", "truth_x", "truth_y"), "float64")


def rows(
    applied: "Applied", image: Image, archives: Archives, settings: DensePredictSettings
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one image."""
    sample = image.sample
    points_K2, score_K = applied.points(sample, image.root, reading_of(settings, sample.dataset))
    size = (applied.spec.size, applied.spec.size)
    points_K2 = resize_points(points_K2, size, (sample.width, sample.height))
    for name, (x, y), score in zip(settings.targets, points_K2.tolist(), score_K.tolist(), strict=True):
        truth_x, truth_y = sample.points.get(name) or (None, None)
        yield {"target": name, "x": x, "y": y, "score": score, "truth_x": truth_x, "truth_y": truth_y}
