"""The report's pictures of dense tasks: the best, median and worst test images, with truth, prediction and errors.

Reads the images and masks that are shown below their datasets' roots, and nothing else there; one that changed since
it was labelled is not shown. Invariant: which cases are shown depends on the metrics of the images alone.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionfm.data.columns import DenseSample, read_dense_samples
from visionfm.errors import DataError, VisionFMError
from visionfm.figures import overlays as o
from visionfm.images.geometry import resize_mask, resize_points
from visionfm.metrics.masks import MACRO
from visionfm.report.data import Results, TaskModel
from visionfm.report.words import number
from visionfm.tasks.landmarks.score import radial_errors

POINT_PANE_PX = 460
log = logging.getLogger("visionfm")


class Legend(NamedTuple):
    """What a colour means; `mark` is the shape that stands in it."""

    colour: str
    text: str
    mark: str = ""


class Pane(NamedTuple):
    """One picture of a case."""

    uri: str
    title: str


@dataclass(frozen=True)
class Case:
    """One test image: `rank` is Best, Median or Worst; without panes the picture could not be shown."""

    rank: str
    says: str
    path: str
    panes: list[Pane]


@dataclass(frozen=True)
class DenseView:
    """The pictures of one model on a dense task."""

    says: str
    legend: list[Legend]
    cases: list[Case]


def dense_view(results: Results, result: TaskModel) -> DenseView | None:
    """Return the pictures of a dense task's first run; None for other tasks, and where nothing is known."""
    plan = results.plan
    if not plan.is_dense(result.task):
        return None
    kind, run = results.config.tasks[result.task].kind, plan.seed_runs(result.task)[0]
    rows = result.predictions[run]
    rows = rows[rows["split"] == "test"]
    ranked = _by_dice(result.image_metrics, run) if kind == "segmentation" else _by_error(rows)
    if not ranked:
        return None
    samples = {sample.sample_id: sample for sample in read_dense_samples(plan.samples(result.task, result.model))}
    draw = _Masks(results, result, run) if kind == "segmentation" else _Points(results, result, rows)
    cases = []
    for rank, (sample_id, says) in chosen(ranked):
        sample = samples[sample_id]
        try:
            panes = draw.panes(sample)
        except (OSError, VisionFMError) as error:
            log.warning("report: the picture of %s is left out: %s", sample_id, str(error).splitlines()[0])
            panes = []
        cases.append(Case(rank, says, f"{sample.dataset}/{sample.path}", panes))
    by = "mean Dice of the classes but the background" if kind == "segmentation" else "mean error of their points"
    says = f"The best, the middle and the worst of {len(ranked)} test images ({run}), by the {by}."
    return DenseView(says, draw.legend(), cases)


def chosen(ranked: Sequence[tuple[str, str]]) -> list[tuple[str, tuple[str, str]]]:
    """Return Best, Median and Worst of a list that goes from the best to the worst, each image once."""
    places = {"Best": 0, "Median": (len(ranked) - 1) // 2, "Worst": len(ranked) - 1}
    taken: dict[int, str] = {}
    for rank, place in places.items():
        taken[place] = f"{taken[place]}, {rank.lower()}" if place in taken else rank
    return [(rank, ranked[place]) for place, rank in sorted(taken.items())]


def _by_dice(measured: Any, run: str) -> list[tuple[str, str]]:
    """Return (sample_id, what it reached) from the best to the worst."""
    rows = measured[(measured["run"] == run) & (measured["split"] == "test") & measured["value"].notna()]
    rows = rows[(rows["metric"] == "dice") & (rows["class"] == MACRO)]
    found = sorted((-value, sample_id) for value, sample_id in zip(rows["value"], rows["sample_id"], strict=True))
    return [(sample_id, f"Dice {number(-value, 'dice')}") for value, sample_id in found]


def _by_error(rows: Any) -> list[tuple[str, str]]:
    errors = rows.assign(error=radial_errors(rows)).dropna(subset=["error"]).groupby("sample_id")["error"].mean()
    found = sorted((float(error), str(sample_id)) for sample_id, error in errors.items())
    return [(sample_id, f"mean error {number(error, 'mre')} px") for error, sample_id in found]


class _Drawer:
    """What pictures of masks and of points share: the image itself."""

    def __init__(self, results: Results) -> None:
        self.config = results.config

    def root(self, sample: DenseSample) -> Path:
        return Path(self.config.datasets[sample.dataset].root)

    def image(self, sample: DenseSample, target_px: int) -> Any:
        """Return an image's pixels, upright, at a reduced scale where that is faster."""
        from visionfm.images.reading import decode

        path, block = self.root(sample) / sample.path, self.config.datasets[sample.dataset]
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sample.image_id:
            raise DataError("the image changed since it was indexed", where=path)
        return decode(
            data,
            frame=block.frame,
            max_megapixels=block.max_megapixels,
            target_px=target_px,
            exact=False,
            where=str(path),
        )


class _Masks(_Drawer):
    def __init__(self, results: Results, result: TaskModel, run: str) -> None:
        from visionfm.artifacts.archive import Archive

        super().__init__(results)
        ((_, self.target),) = results.plan.tasks.maps.targets(result.task).items()
        self.archive = Archive(results.plan.masks(result.task, result.model, run)[0])
        rows = result.predictions[run]
        self.names = dict(zip(rows["sample_id"], rows["mask"], strict=True))

    def panes(self, sample: DenseSample) -> list[Pane]:
        from visionfm.images.masks import read_mask

        image_HWC = self.image(sample, 2 * o.PANE_PX)
        size = image_HWC.shape[1::-1]
        predicted_HW = read_mask(
            self.archive.read(self.names[sample.sample_id]), self.target.values, orientation=sample.orientation
        )
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


class _Points(_Drawer):
    def __init__(self, results: Results, result: TaskModel, rows: Any) -> None:
        super().__init__(results)
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
