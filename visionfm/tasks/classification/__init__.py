"""Task kind `classification`: binary, multiclass and multilabel targets, several at once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator

from visionfm.config.base import Name
from visionfm.config.sections import FIXED, RecipeTable, Section
from visionfm.tasks.finetuning.recipe import RECIPES as FINETUNING
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.kind import TaskKind
from visionfm.tasks.settings import LabelledTarget
from visionfm.tasks.target import ClassTarget
from visionfm.tasks.vectors.block import (
    CALIBRATE,
    CONFORMAL,
    OPERATING_POINTS,
    ClassFinetuning,
    ClassTraining,
    ClassTrainings,
    HeadedTask,
    OperatingPoint,
    label_problems,
    operating_points,
    sibling,
)
from visionfm.tasks.vectors.recipe import ATTENTIVE, SOUND, Recipe

BASELINES: tuple[Literal["knn", "logreg"], ...] = ("knn", "logreg")


class ClassificationTask(HeadedTask):
    """Which class a sample is of."""

    CANDIDATES = ("linear", "attentive", "logreg")

    kind: Literal["classification"] = Field(description="targets are classes")
    targets: dict[Name, ClassTarget] = Field(min_length=1, description="what is predicted")
    training: ClassTrainings = Field(ClassTraining(), description="of the decoders")
    baselines: list[Literal["knn", "logreg"]] | None = Field(
        None, description="k-NN and logistic regression beside the decoder; default both, `[]` none"
    )

    operating_points: list[OperatingPoint] = OPERATING_POINTS
    calibrate: Literal["none", "temperature", "platt", "isotonic"] = CALIBRATE
    conformal: float | None = CONFORMAL

    @model_validator(mode="after")
    def _points_fit(self) -> "ClassificationTask":
        if self.operating_points and all(target.type == "multiclass" for target in self.targets.values()):
            raise ValueError("one of several classes has no threshold, so that `operating_points` have no effect")
        return self

    @model_validator(mode="after")
    def _sets_fit(self) -> "ClassificationTask":
        if self.conformal is not None and self.calibrate == "isotonic":
            raise ValueError(
                "`conformal` with `calibrate: isotonic`: steps that fit the same people too well make sets that hold "
                "the true class too rarely; choose temperature or platt"
            )
        return self

    def calibrated_by(self) -> str:
        """Return how its probabilities are calibrated."""
        return self.calibrate

    def evaluate_keys(self) -> Mapping[str, Any]:
        """Return the thresholds that are wanted, and what sets shall hold."""
        return {**operating_points(self.operating_points), "conformal": self.conformal}

    def labels(self) -> dict[str, LabelledTarget]:
        """Return the targets as `fuse` reads them from labels."""
        return {name: target.labelled(name) for name, target in self.targets.items()}

    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values; the published one depends on targets and modalities."""
        if name == "sound":
            return self.sound_recipe()
        if self.training.mode == "finetune":
            return FINETUNING / f"{name}.yaml"
        single = is_single(self.targets.values(), modalities)
        return sibling(__file__, "published_single" if single else "published_multi")

    def baseline_names(self) -> Sequence[str]:
        """Return the baselines that stand beside its own decoder."""
        return () if self.decoder else BASELINES if self.baselines is None else self.baselines


class Typed(Protocol):
    """A target, of the config or of a stage's settings."""

    @property
    def type(self) -> str:
        """Its kind of value."""


def is_single(targets: Iterable[Typed], modalities: Collection[str]) -> bool:
    """Tell the published single-modality task (one binary or multiclass target) from the multi-modality one."""
    types = [target.type for target in targets]
    return len(modalities) == 1 and len(types) == 1 and types[0] in ("binary", "multiclass")


KIND = TaskKind(
    name="classification",
    block=ClassificationTask,
    family="vectors",
    problems=label_problems,
    sections=(
        Section(
            ClassificationTask,
            "tasks.NAME, kind: classification",
            "Which class a sample is of: one of two, one of several, or any of several. `baselines` stand beside the "
            "decoder on the same features.",
            """
tasks:
  diseases:
    kind: classification
    datasets: [screening]
    models: [visionfm, dinov2, baseline]
    targets: {diseases: {type: multilabel, classes: [dr, glaucoma]}}
  dme:
    kind: classification
    datasets: [clinic, clinic_fundus]
    models: [visionfm]
    unit: eye
    fusion: attention
    max_days: 30
    targets: {dme: {type: binary, aggregate: max}}
    operating_points: [{sensitivity: 0.95}, {specificity: 0.9}]
    calibrate: platt
    conformal: 0.9
    seeds: [0, 1, 2]
""",
        ),
        Section(
            ClassTarget,
            "tasks.NAME.targets.NAME, kind: classification",
            "Labels that mean the same class stand in one list.",
            """
tasks:
  grades:
    kind: classification
    datasets: [graded]
    models: [visionfm]
    targets:
      any_dr: {type: binary, column: dr_grade, classes: {none: dr0, any: [dr1, dr2, dr3, dr4]}, unknown: [-1]}
      grade: {type: multiclass, column: dr_grade, classes: [dr0, dr1, dr2, dr3, dr4], ordered: true, weight: 0.5}
""",
        ),
        Section(
            OperatingPoint,
            "tasks.NAME.operating_points, kind: classification or ordinal",
            "Thresholds beside 0.5 and the one with the largest sum of sensitivity and specificity. Each is chosen on "
            "validation data, and every number of the test data says what it gives there.",
            """
tasks:
  edema:
    kind: classification
    datasets: [clinic]
    models: [visionfm]
    targets: {dme: {type: binary}}
    operating_points: [{sensitivity: 0.95}, {specificity: 0.9}]
""",
        ),
        Section(
            ClassTraining,
            "tasks.NAME.training, kind: classification",
            "A decoder on cached features.",
            """
tasks:
  grades:
    training: {recipe: sound, features: both, epochs: 200, lr: 1e-3, class_weighting: balanced}
""",
            (
                RecipeTable(
                    f"The recipes of classification on cached features. {FIXED}",
                    Recipe,
                    {
                        "sound": SOUND,
                        "published, one target of one modality": sibling(__file__, "published_single"),
                        "published, several": sibling(__file__, "published_multi"),
                        "sound, `head: attentive`": ATTENTIVE,
                    },
                ),
            ),
        ),
        Section(
            ClassFinetuning,
            "tasks.NAME.training, kind: classification, mode: finetune",
            "The encoder is trained too, on the images: all of it, its last blocks, or adapters beside its attention. "
            "The encoder that comes out, `results/tasks/TASK/MODEL/RUN/encoder.safetensors`, can be named as `weights` "
            "of another encoder.",
            """
tasks:
  tuned:
    kind: classification
    datasets: [graded]
    models: [visionfm]
    targets: {grade: {type: multiclass, column: dr_grade, classes: [dr0, dr1, dr2, dr3, dr4]}}
    training: {mode: finetune, epochs: 30, trainable: {last: 4}, mixup: 0.2, ema: 0.999, precision: bf16}
""",
            (
                RecipeTable(
                    f"The recipes of fine-tuning. {FIXED}",
                    FinetuneRecipe,
                    {name: FINETUNING / f"{name}.yaml" for name in ("modern", "published")},
                ),
            ),
        ),
    ),
)
