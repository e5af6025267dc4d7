"""Pictures of landmarks: true and predicted places on the best, median and worst test image."""

from typing import Any

import numpy as np

from visionfm.data.columns import DenseSample
from visionfm.figures import overlays as o
from visionfm.figures.section import Section
from visionfm.images.geometry import resize_points
from visionfm.metrics.written import number
from visionfm.tasks.landmarks.score import radial_errors
from visionfm.tasks.maps.cases import Drawer, Legend, Pane, cases
from visionfm.tasks.results import TaskModel

POINT_PANE_PX = 460


def sections(result: TaskModel) -> list[Section]:
    """Return the cases."""
    rows = result.tested()
    return cases(result, _by_error(rows), "the mean error of their points", _Points(result, rows))


def _by_error(rows: Any) -> list[tuple[str, str]]:
    errors = rows.assign(error=radial_errors(rows)).dropna(subset=["error"]).groupby("sample_id")["error"].mean()
    found = sorted((float(error), str(sample_id)) for sample_id, error in errors.items())
    return [(sample_id, f"mean error {number(error, 'mre')} px") for error, sample_id in found]


class _Points(Drawer):
    def __init__(self, result: TaskModel, rows: Any) -> None:
        super().__init__(result)
        self.names = list(result.targets)
        self.said = {(row["sample_id"], row["target"]): (row["x"], row["y"]) for row in rows.to_dict("records")}

    def panes(self, sample: DenseSample) -> list[Pane]:
        image_HWC = self.image(sample, 2 * POINT_PANE_PX)
        size, own = image_HWC.shape[1::-1], (sample.width, sample.height)

        def moved(place: tuple[float, float] | None) -> o.Place:
            return None if place is None else tuple(resize_points(np.array([place]), own, size)[0].tolist())

        truth = [moved(sample.points.get(name)) for name in self.names]
        said = [moved(self.said.get((sample.sample_id, name))) for name in self.names]
        picture = o.paint_points(image_HWC, truth, said, POINT_PANE_PX)
        return [Pane(o.data_uri(picture), "truth and prediction")]

    def legend(self) -> list[Legend]:
        found = [Legend(o.hexadecimal(o.class_colour(i)), name) for i, name in enumerate(self.names, 1)]
        return [*found, Legend("", "true place", "\u25cb"), Legend("", "predicted place", "\u00d7")]
