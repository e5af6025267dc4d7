"""Task kind `ordinal`: grades, which have an order (DR 0 to 4, stages of glaucoma, density of a cataract)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Scalar, Strict
from visionfm.config.sections import FIXED, RecipeTable, Section
from visionfm.tasks.block import Frozen
from visionfm.tasks.classification import BASELINES
from visionfm.tasks.kind import TaskKind
from visionfm.tasks.settings import LabelledTarget, TargetSpec
from visionfm.tasks.target import AGGREGATE, COLUMN, UNKNOWN, WEIGHT, Classes, ClassTarget, doubled_labels
from visionfm.tasks.vectors.block import (
    OPERATING_POINTS,
    LabelledTask,
    OperatingPoint,
    label_problems,
    operating_points,
    sibling,
    training_block,
)
from visionfm.tasks.vectors.recipe import Recipe

FORM, UNIT = "grades", "grades"
HEADS: tuple[Literal["corn", "cumulative"], ...] = ("corn", "cumulative")


class SoundOnly(Frozen):
    """How a decoder on cached features is trained; what is not set is the recipe's own."""

    recipe: Literal["sound"] = Field("sound", description="what works on few images")


if TYPE_CHECKING:
    GradeTraining = SoundOnly
else:
    GradeTraining = training_block("GradeTraining", SoundOnly, Recipe)


class GradeTarget(Strict):
    """One of several grades, the lowest first."""

    column: Name | None = COLUMN
    classes: Classes = Field(
        description="the grades from the lowest on: a number (labels 0..n-1), the labels, or name: label(s)"
    )
    weight: float = WEIGHT
    unknown: list[Scalar] = UNKNOWN
    aggregate: Literal["max", "latest", "first"] | None = Field(None, description=AGGREGATE)

    @model_validator(mode="after")
    def _grades_fit(self) -> "GradeTarget":
        if (self.classes if isinstance(self.classes, int) else len(self.classes)) < 3:
            raise ValueError("there are three grades at least; two classes are `kind: classification`, `type: binary`")
        if doubled := doubled_labels(self.classes):
            raise ValueError(f"`classes` must differ; these stand twice: {', '.join(doubled)}")
        return self

    def labelled(self, name: str) -> LabelledTarget:
        """Return it as `fuse` reads it from labels: one of several classes."""
        return ClassTarget(type="multiclass", ordered=True, **self.model_dump()).labelled(name)


class OrdinalTask(LabelledTask):
    """Which grade a sample has."""

    kind: Literal["ordinal"] = Field(description="targets are grades")
    targets: dict[Name, GradeTarget] = Field(min_length=1, description="what is predicted")
    training: GradeTraining = Field(GradeTraining(), description="of the decoders")
    head: Literal["corn", "cumulative"] = Field(
        "corn",
        description="corn: a question per grade, whether it is passed given that it was reached; cumulative: "
        "proportional odds, one direction of the features with rising thresholds, for few samples",
    )
    baselines: list[Literal["knn", "logreg"]] | None = Field(
        None, description="k-NN and ordinal logistic regression beside the decoder; default both, `[]` none"
    )

    operating_points: list[OperatingPoint] = OPERATING_POINTS
    calibrate: Literal["none", "temperature"] = Field(
        "none",
        description="temperature: probabilities are calibrated on validation by one number; every threshold is chosen "
        "afterwards. Maps of one cut each, as platt and isotonic would be, could cross",
    )

    def calibrated_by(self) -> str:
        """Return how its probabilities are calibrated."""
        return self.calibrate

    def evaluate_keys(self) -> Mapping[str, Any]:
        """Return the thresholds that are wanted of each cut."""
        return operating_points(self.operating_points)

    def labels(self) -> dict[str, LabelledTarget]:
        """Return the targets as `fuse` reads them from labels."""
        return {name: target.labelled(name) for name, target in self.targets.items()}

    def specs(self) -> dict[str, TargetSpec]:
        """Return the targets as decoders and metrics see them: errors are counted in grades."""
        more: dict[str, Any] = {"form": FORM, "unit": UNIT}
        return {name: target.model_copy(update=more) for name, target in super().specs().items()}

    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values; there is one per head."""
        return sibling(__file__, self.head)

    def head_name(self) -> str:
        """Return what metrics call its decoder."""
        return self.head

    def baseline_names(self) -> Sequence[str]:
        """Return the baselines that stand beside its own decoder."""
        return () if self.decoder else BASELINES if self.baselines is None else self.baselines


KIND = TaskKind(
    name="ordinal",
    block=OrdinalTask,
    family="vectors",
    problems=label_problems,
    scoring="visionfm.tasks.ordinal.score",
    sections=(
        Section(
            OrdinalTask,
            "tasks.NAME, kind: ordinal",
            "Which grade a sample has, where a miss by two grades is worse than one by one. The headline is quadratic "
            "kappa. The grade called is the expected grade, rounded. Each cut (`>= 2`: is it grade 2 or worse?) has "
            "its AUROC, and its sensitivity and specificity at a threshold chosen on validation; the cut of referable "
            "diabetic retinopathy is `>= 2`. Head `corn` is that of Shi et al. 2023; `logreg` is the regression of "
            "proportional odds.",
            """
tasks:
  severity:
    kind: ordinal
    datasets: [graded]
    models: [visionfm, baseline]
    head: corn
    targets: {dr: {column: dr_grade, classes: {none: dr0, mild: dr1, moderate: dr2, severe: dr3, proliferative: dr4}}}
    seeds: [0, 1, 2]
    train_fraction: [0.1, 0.3]
""",
        ),
        Section(
            GradeTarget,
            "tasks.NAME.targets.NAME, kind: ordinal",
            "Labels that mean the same grade stand in one list.",
            """
tasks:
  severity: {targets: {dr: {unknown: [-1], aggregate: max}}}
""",
        ),
        Section(
            GradeTraining,
            "tasks.NAME.training, kind: ordinal",
            "A decoder on cached features.",
            """
tasks:
  severity: {training: {features: both, class_weighting: balanced}}
""",
            (
                RecipeTable(
                    f"The recipes of ordinal grading; they differ in the head alone. {FIXED}",
                    Recipe,
                    {f"sound, head {head}": sibling(__file__, head) for head in HEADS},
                ),
            ),
        ),
    ),
)
