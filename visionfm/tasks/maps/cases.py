"""Pictures of dense tasks: the best, median and worst test images, with truth and prediction.

Reads the images and masks that are shown below their datasets' roots, and nothing else there; one that changed since
it was labelled is not shown. Invariant: which cases are shown depends on the metrics of the images alone.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from visionfm.data.columns import DenseSample, read_dense_samples
from visionfm.errors import CannotReadNow, VisionFMError
from visionfm.figures.section import Section
from visionfm.images.identity import shown_as
from visionfm.tasks.results import TaskModel

TEMPLATE = "tasks/maps/cases.html.j2"
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
class CasesView:
    """The pictures of one model on a dense task."""

    says: str
    legend: list[Legend]
    cases: list[Case]


class Drawer(ABC):
    """What pictures of masks and of points share: the image itself."""

    def __init__(self, result: TaskModel) -> None:
        """`result` names the folders of the images."""
        self.folders = result.folders

    @abstractmethod
    def panes(self, sample: DenseSample) -> list[Pane]:
        """Return the pictures of one image."""

    @abstractmethod
    def legend(self) -> list[Legend]:
        """Return what the colours mean."""

    def root(self, sample: DenseSample) -> Path:
        """Return the folder that an image's path is relative to."""
        return self.folders[sample.dataset].root

    def image(self, sample: DenseSample, target_px: int) -> Any:
        """Return an image's pixels, upright, at a reduced scale where that is faster."""
        from visionfm.images.reading import read_checked

        folder = self.folders[sample.dataset]
        return read_checked(folder.root, sample.path, sample.image_id, folder.reading, target_px=target_px)


def cases(result: TaskModel, ranked: Sequence[tuple[str, str]], by: str, draw: Drawer) -> list[Section]:
    """Return the section of the first run; none where nothing is known.

    `ranked` are (sample_id, what it reached) from the best to the worst, `by` says of what.
    """
    if not ranked or not result.pictures:
        return []
    samples = {sample.sample_id: sample for sample in read_dense_samples(result.samples_file)}
    found = []
    for rank, (sample_id, says) in chosen(ranked):
        sample = samples[sample_id]
        try:
            panes = draw.panes(sample)
        except CannotReadNow:
            raise  # a page that lacks a picture for that would stay without it
        except (OSError, VisionFMError) as error:
            log.warning("report: the picture of %s is left out: %s", sample_id, str(error).splitlines()[0])
            panes = []
        found.append(Case(rank, says, f"{sample.dataset}/{shown_as(sample.path, sample.image_id, result.ids)}", panes))
    says = f"The best, the middle and the worst of {len(ranked)} test images ({result.runs[0]}), by {by}."
    return [Section(TEMPLATE, CasesView(says, draw.legend(), found))]


def chosen(ranked: Sequence[tuple[str, str]]) -> list[tuple[str, tuple[str, str]]]:
    """Return Best, Median and Worst of a list that goes from the best to the worst, each image once."""
    places = {"Best": 0, "Median": (len(ranked) - 1) // 2, "Worst": len(ranked) - 1}
    taken: dict[int, str] = {}
    for rank, place in places.items():
        taken[place] = f"{taken[place]}, {rank.lower()}" if place in taken else rank
    return [(rank, ranked[place]) for place, rank in sorted(taken.items())]
