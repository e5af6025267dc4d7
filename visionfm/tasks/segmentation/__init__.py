"""Task kind `segmentation`: one mask of classes, the background first."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Scalar, Strict
from visionfm.config.sections import FIXED, RecipeTable, Section
from visionfm.data.promises import has_masks
from visionfm.tasks.block import Frozen
from visionfm.tasks.kind import Location, Raw, RawDataset, TaskKind
from visionfm.tasks.maps.block import MapTask
from visionfm.tasks.maps.recipe import DenseRecipe
from visionfm.tasks.maps.settings import DenseTarget
from visionfm.tasks.settings import LabelledTarget
from visionfm.tasks.target import COLUMN, WEIGHT, Classes, doubled_labels, named_classes
from visionfm.tasks.vectors.block import sibling, training_block

if TYPE_CHECKING:
    MaskTraining = Frozen
else:
    MaskTraining = training_block("MaskTraining", Frozen, DenseRecipe, without=("target_width",))


class MaskTarget(Strict):
    """A mask, given by pixel values."""

    column: Name | None = COLUMN
    classes: Classes = Field(
        description="two at least, the background first: a number (pixel values 0..n-1), the pixel values in order, or "
        "name: pixel value(s)"
    )
    weight: float = WEIGHT
    tubular: bool | None = Field(None, description="adds clDice; default: where `vessel` is in the target's name")

    @model_validator(mode="after")
    def _classes_fit(self) -> "MaskTarget":
        given = self.classes
        if doubled := doubled_labels(given):
            raise ValueError(f"`classes` must differ; these stand twice: {', '.join(doubled)}")
        if isinstance(given, int):
            if not 2 <= given <= 256:
                raise ValueError("a mask of 8 bits has 2 to 256 classes, the background first")
            return self
        flat: list[Scalar] = [value for values in named_classes(given)[1] for value in values]
        if len(given) < 2 or any(isinstance(v, bool) or not isinstance(v, int) or not 0 <= v <= 255 for v in flat):
            raise ValueError("the classes of a mask are two or more, given by pixel values 0 to 255")
        return self

    @property
    def count(self) -> int:
        """The number of classes."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)


class SegmentationTask(MapTask):
    """Which class each pixel is of."""

    kind: Literal["segmentation"] = Field(description="the target is a mask")
    targets: dict[Name, MaskTarget] = Field(description="one: the mask, with its classes")
    training: MaskTraining = Field(MaskTraining(), description="of the decoders")
    tile_overlap: float | None = Field(
        None,
        ge=0,
        le=0.75,
        description="tiles of `image_size` px at native resolution, overlapping by this; they stream",
    )
    probabilities: bool | None = Field(
        None, description="also write probability maps; default: where there are two classes"
    )

    has_masks: ClassVar[bool] = True

    @model_validator(mode="after")
    def _target_fits(self) -> "SegmentationTask":
        if len(self.targets) != 1:
            raise ValueError("segmentation has one target: the mask, with its classes")
        if getattr(self.training, "threshold", None) is not None and self._mask().count != 2:
            raise ValueError("a threshold parts two classes; of more the most probable is taken")
        return self

    def _mask(self) -> MaskTarget:
        return next(iter(self.targets.values()))

    def labels(self) -> dict[str, LabelledTarget]:
        """Return the mask as `fuse` reads it."""
        found = {}
        for name, target in self.targets.items():
            classes, values = named_classes(target.classes)
            column = target.column or name
            found[name] = LabelledTarget(
                type="mask", column=column, classes=classes, values=values, weight=target.weight
            )
        return found

    def dense_targets(self) -> dict[str, DenseTarget]:
        """Return the mask."""
        return {
            name: DenseTarget(
                column=label.column,
                classes=label.classes,
                values=[[int(value) for value in values] for values in label.values],
                weight=label.weight,
            )
            for name, label in self.labels().items()
        }

    def mask_values(self) -> list[int]:
        """Return the pixel values that its masks may have."""
        (target,) = self.dense_targets().values()
        return sorted(value for values in target.values for value in values)

    def evaluate_keys(self) -> Mapping[str, Any]:
        """Return whether the mask is of vessels, which metrics measure by their centre lines too."""
        tubular = [n for n, t in self.targets.items() if ("vessel" in n if t.tubular is None else t.tubular)]
        return {"tubular": tubular}

    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values."""
        return sibling(__file__, name)

    def writes_probabilities(self) -> bool:
        """Tell whether it writes probability maps: on request, else where the mask has two classes."""
        return self._mask().count == 2 if self.probabilities is None else self.probabilities

    def overlap(self) -> float | None:
        """Return how much tiles overlap; None where images are resized as a whole."""
        return self.tile_overlap


def problems(task: Raw, datasets: Sequence[RawDataset]) -> Iterator[tuple[Location, str]]:
    """Yield the masks of a task whose datasets have none."""
    targets = task.get("targets")
    if any(has_masks(dataset.block) for dataset in datasets) or not isinstance(targets, Mapping):
        return
    for name, block in targets.items():
        if isinstance(block, Mapping):
            place = ("targets", name)
            yield place, "no dataset of the task has masks: layout segmentation, or `columns: {mask: ...}`"


KIND = TaskKind(
    name="segmentation",
    block=SegmentationTask,
    family="maps",
    problems=problems,
    sections=(
        Section(
            SegmentationTask,
            "tasks.NAME, kind: segmentation",
            "Which class each pixel of an image is of.",
            """
tasks:
  vessels:
    kind: segmentation
    datasets: [drive]
    models: [visionfm]
    image_size: 512
    targets: {vessel: {classes: {background: 0, vessel: 255}}}
""",
        ),
        Section(
            MaskTarget,
            "tasks.NAME.targets.NAME, kind: segmentation",
            "A mask: pixel values that mean the same class stand in one list.",
            """
tasks:
  vessels: {targets: {vessel: {tubular: true}}}
""",
        ),
        Section(
            MaskTraining,
            "tasks.NAME.training, kind: segmentation",
            "A decoder on patch tokens.",
            """
tasks:
  vessels: {training: {augmentation: rich, precision: bf16}}
""",
            (
                RecipeTable(
                    f"The recipes of segmentation. {FIXED}",
                    DenseRecipe,
                    {name: sibling(__file__, name) for name in ("sound", "published")},
                ),
            ),
        ),
    ),
)
