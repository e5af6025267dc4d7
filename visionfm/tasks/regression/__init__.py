"""Task kind `regression`: any number of values with units."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import Field

from visionfm.config.base import Name
from visionfm.config.sections import FIXED, RecipeTable, Section
from visionfm.tasks.finetuning.recipe import FinetuneRecipe
from visionfm.tasks.kind import TaskKind
from visionfm.tasks.settings import LabelledTarget
from visionfm.tasks.target import ValueTarget
from visionfm.tasks.vectors.block import (
    HeadedTask,
    HeadTraining,
    ValueFinetuning,
    ValueTrainings,
    label_problems,
    sibling,
)
from visionfm.tasks.vectors.recipe import SOUND, Recipe


class RegressionTask(HeadedTask):
    """Which value a sample has."""

    CANDIDATES = ("linear", "attentive")

    kind: Literal["regression"] = Field(description="targets are values")
    targets: dict[Name, ValueTarget] = Field(min_length=1, description="what is predicted")
    training: ValueTrainings = Field(HeadTraining(), description="of the decoders")

    def labels(self) -> dict[str, LabelledTarget]:
        """Return the targets as `fuse` reads them from labels."""
        return {name: target.labelled(name) for name, target in self.targets.items()}

    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values."""
        if name == "sound":
            return self.sound_recipe()
        return sibling(__file__, f"finetuned_{name}" if self.training.mode == "finetune" else name)


KIND = TaskKind(
    name="regression",
    block=RegressionTask,
    family="vectors",
    problems=label_problems,
    sections=(
        Section(
            RegressionTask,
            "tasks.NAME, kind: regression",
            "Values of samples, each in its unit.",
            """
tasks:
  pressure:
    kind: regression
    datasets: [clinic]
    models: [visionfm]
    targets: {iop: {type: value, unit: mmHg}}
""",
        ),
        Section(
            ValueTarget,
            "tasks.NAME.targets.NAME, kind: regression",
            "A label that is a number.",
            """
tasks:
  pressure: {targets: {iop: {unknown: [999], aggregate: mean}}}
""",
        ),
        Section(
            HeadTraining,
            "tasks.NAME.training, kinds regression and progression",
            "A decoder on cached features.",
            """
tasks:
  pressure: {training: {features: patch_mean, patience: 20}}
""",
            (
                RecipeTable(
                    f"The recipes of regression on cached features. {FIXED}",
                    Recipe,
                    {"sound": SOUND, "published": sibling(__file__, "published")},
                ),
            ),
        ),
        Section(
            ValueFinetuning,
            "tasks.NAME.training, kind: regression, mode: finetune",
            "The encoder is trained too, on the images.",
            """
tasks:
  tuned_pressure:
    kind: regression
    datasets: [clinic]
    models: [visionfm]
    targets: {iop: {type: value, unit: mmHg}}
    training: {mode: finetune, epochs: 20}
""",
            (
                RecipeTable(
                    f"The recipes of fine-tuning, for values. {FIXED}",
                    FinetuneRecipe,
                    {name: sibling(__file__, f"finetuned_{name}") for name in ("modern", "published")},
                ),
            ),
        ),
    ),
)
