"""Pictures of a segmentation: image, truth, prediction and errors of the best, median and worst test image."""

import json
from typing import Any

import numpy as np

from visionfm import artifacts
from visionfm.artifacts.archive import Archive
from visionfm.data.columns import DenseSample
from visionfm.figures import overlays as o
from visionfm.figures.section import Section
from visionfm.images.geometry import resize_mask
from visionfm.images.masks import read_mask
from visionfm.metrics.masks import MACRO
from visionfm.metrics.written import number
from visionfm.tasks.maps.cases import Drawer, Legend, Pane, cases
from visionfm.tasks.maps.settings import DenseTarget
from visionfm.tasks.results import TaskModel


def sections(result: TaskModel) -> list[Section]:
    """Return the cases."""
    ranked = _by_dice(result.image_metrics, result.runs[0])
    return cases(result, ranked, "the mean Dice of the classes but the background", _Masks(result)) if ranked else []


def _by_dice(measured: Any, run: str) -> list[tuple[str, str]]:
    """Return (sample_id, what it reached) from the best to the worst."""
    rows = measured[(measured["run"] == run) & (measured["split"] == "test") & measured["value"].notna()]
    rows = rows[(rows["metric"] == "dice") & (rows["class"] == MACRO)]
    found = sorted((-value, sample_id) for value, sample_id in zip(rows["value"], rows["sample_id"], strict=True))
    return [(sample_id, f"Dice {number(-value, 'dice')}") for value, sample_id in found]


class _Masks(Drawer):
    def __init__(self, result: TaskModel) -> None:
        super().__init__(result)
        self.archives = {run: Archive(path) for run, path in result.masks.items()}
        first, path = next(iter(self.archives.values())), next(iter(result.masks.values()))
        with artifacts.understood(path):
            ((_, target),) = json.loads(first.metadata["targets"]).items()
            self.target = DenseTarget.model_validate(target)
        rows = result.tested()
        places = zip(rows["run"], rows["mask"], strict=True)
        self.places = dict(zip(rows["sample_id"], places, strict=True))

    def panes(self, sample: DenseSample) -> list[Pane]:
        image_HWC = self.image(sample, 2 * o.PANE_PX)
        size = image_HWC.shape[1::-1]
        run, name = self.places[sample.sample_id]
        predicted_HW = read_mask(self.archives[run].read(name), self.target.values, orientation=sample.orientation)
        truth_HW, inside_HW = sample.mask(self.root(sample), self.target.values), sample.fov(self.root(sample))
        assert truth_HW is not None, "only images with a mask are ranked"
        truth_HW, predicted_HW = resize_mask(truth_HW, size), resize_mask(predicted_HW, size)
        if inside_HW is not None:
            inside_HW = resize_mask(inside_HW.astype(np.uint8), size) > 0
        pictures = {
            "image": image_HWC,
            "truth": o.paint_classes(image_HWC, truth_HW),
            "prediction": o.paint_classes(image_HWC, predicted_HW),
            "errors": o.paint_errors(image_HWC, truth_HW, predicted_HW, inside_HW),
        }
        return [Pane(o.data_uri(o.shrunk(picture, o.PANE_PX)), title) for title, picture in pictures.items()]

    def legend(self) -> list[Legend]:
        found = [Legend(o.hexadecimal(o.class_colour(i)), name) for i, name in enumerate(self.target.classes) if i > 0]
        errors = o.ERRORS if len(self.target.classes) > 2 else o.ERRORS[:3]
        return found + [Legend(o.hexadecimal(colour), text) for colour, text in errors]
