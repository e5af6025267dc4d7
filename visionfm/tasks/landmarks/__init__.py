"""Task kind `landmarks`: any number of points, absent ones masked."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Strict
from visionfm.config.nearest import unknown
from visionfm.config.sections import FIXED, RecipeTable, Section
from visionfm.data.promises import point_names
from visionfm.tasks.block import Frozen
from visionfm.tasks.kind import Location, Raw, RawDataset, TaskKind
from visionfm.tasks.maps.block import ALL_VIEWS, MapTask
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.settings import DenseTarget
from visionfm.tasks.settings import LabelledTarget
from visionfm.tasks.target import COLUMN, WEIGHT
from visionfm.tasks.vectors.block import sibling, training_block

OF_MASKS = ("class_weighting", "crop_px", "threshold")
if TYPE_CHECKING:
    PointTraining = Frozen
else:
    PointTraining = training_block("PointTraining", Frozen, DenseRecipe, without=OF_MASKS)


class PointTarget(Strict):
    """A point of the image."""

    column: Name | None = COLUMN
    weight: float = WEIGHT


class LandmarksTask(MapTask):
    """Where points lie."""

    kind: Literal["landmarks"] = Field(description="targets are points")
    targets: dict[Name, PointTarget] = Field(min_length=1, description="the points")
    training: PointTraining = Field(PointTraining(), description="of the decoders")
    swaps: list[list[Name]] = Field([], description="pairs that change places when an image is mirrored left to right")
    success_px: list[float] = Field(
        [2.0, 4.0, 8.0], description="radial errors in px of the original image that count as success"
    )
    success_mm: list[float] = Field([], description="the same in mm, where the images say mm_per_px")

    flips: ClassVar[tuple[str, ...]] = ALL_VIEWS[:2]  # only left and right change places

    @model_validator(mode="after")
    def _swaps_fit(self) -> "LandmarksTask":
        flat = [name for pair in self.swaps for name in pair]
        if any(len(pair) != 2 for pair in self.swaps) or len(set(flat)) != len(flat) or set(flat) - set(self.targets):
            raise ValueError("swaps are pairs of two of the targets, each in one pair at most")
        return self

    def labels(self) -> dict[str, LabelledTarget]:
        """Return the points as `fuse` reads them."""
        return {
            name: LabelledTarget(type="point", column=target.column or name, weight=target.weight)
            for name, target in self.targets.items()
        }

    def dense_targets(self) -> dict[str, DenseTarget]:
        """Return the points."""
        return {name: DenseTarget(column=label.column, weight=label.weight) for name, label in self.labels().items()}

    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values."""
        return sibling(__file__, name)

    def mirrored(self) -> list[list[str]]:
        """Return the pairs of points that change places in a mirror image."""
        return self.swaps

    def evaluate_keys(self) -> Mapping[str, Any]:
        """Return which errors count as success."""
        return {"success_px": self.success_px, "success_mm": self.success_mm}


def problems(task: Raw, datasets: Sequence[RawDataset]) -> Iterator[tuple[Location, str]]:
    """Yield the points that no dataset of the task marks."""
    points = dict.fromkeys(point for dataset in datasets for point in point_names(dataset.block))
    targets = task.get("targets")
    for name, block in targets.items() if isinstance(targets, Mapping) else ():
        if isinstance(block, Mapping):
            column = str(block.get("column") or name)
            if problem := unknown(column, points, "point of the task's datasets"):
                yield ("targets", name), problem


KIND = TaskKind(
    name="landmarks",
    block=LandmarksTask,
    family="maps",
    problems=problems,
    sections=(
        Section(
            LandmarksTask,
            "tasks.NAME, kind: landmarks",
            "Where the points of an image lie.",
            """
tasks:
  angle:
    kind: landmarks
    datasets: [angles]
    models: [ultrasound]
    targets: {spur_left: {}, spur_right: {}, apex: {}}
    swaps: [[spur_left, spur_right]]
  places:
    {kind: landmarks, datasets: [drive], models: [visionfm], targets: {disc: {}, fovea: {}}, dense_cache: {max_gb: 50}}
""",
        ),
        Section(
            PointTarget,
            "tasks.NAME.targets.NAME, kind: landmarks",
            "A point under the name that the datasets give it.",
            """
tasks:
  angle: {targets: {apex: {column: apex}}}
""",
        ),
        Section(
            PointTraining,
            "tasks.NAME.training, kind: landmarks",
            "A decoder on patch tokens.",
            """
tasks:
  angle: {training: {target_width: 6, augmentation: affine}}
""",
            (
                RecipeTable(
                    f"The recipes of landmarks. {FIXED}",
                    DenseRecipe,
                    {name: sibling(__file__, name) for name in ("sound", "published")},
                ),
            ),
        ),
    ),
)
