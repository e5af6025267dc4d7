"""Task kind `progression`: whether and when an eye gets worse."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Positive, Strict
from visionfm.config.sections import FIXED, RecipeTable, Section
from visionfm.data.promises import has_outcome
from visionfm.tasks.kind import Location, Raw, RawDataset, TaskKind
from visionfm.tasks.settings import LabelledTarget, TargetSpec
from visionfm.tasks.vectors.block import HeadTraining, VectorTask, sibling
from visionfm.tasks.vectors.recipe import Recipe

Days = Annotated[float, Field(gt=0)]
EVENT = "event"  # the column of labels.parquet
CLASSES = ["stable", "progressed"]


class Survival(Strict):
    """Times of heads hazard and cox."""

    intervals: list[Days] = Field(
        [], description="ends of the time intervals in days, rising; probabilities are predicted for each"
    )
    horizons: list[Days] = Field(
        [], description="those of `intervals` for which AUROC, Brier score and calibration are reported"
    )
    visits: Positive = Field(
        4, description="unit eye: images of the baseline and of at most so many less one before it"
    )

    @model_validator(mode="after")
    def _times_rise(self) -> "Survival":
        for name, days in (("intervals", self.intervals), ("horizons", self.horizons)):
            if days != sorted(set(days)):
                raise ValueError(f"`{name}` must rise")
        if strange := [f"{day:g}" for day in self.horizons if day not in self.intervals]:
            raise ValueError(f"`horizons` are some of `intervals`; these are none: {', '.join(strange)}")
        return self


class EventTarget(Strict):
    """What the datasets' event means; it has no keys."""


class ProgressionTask(VectorTask):
    """Whether, and when, an eye gets worse."""

    kind: Literal["progression"] = Field(description="the target is an event in time")
    targets: dict[Name, EventTarget] = Field(
        description="one, without keys: `{name: {}}`: what the datasets' event means"
    )
    unit: Literal["image", "eye"] = Field("image", description="what a sample is; `n` counts it")
    fusion: Literal["pooled", "attention"] = Field(
        "pooled", description="pooled for unit image; attention over the visits of an eye"
    )
    training: HeadTraining = Field(HeadTraining(), description="of the decoders")
    head: Literal["published", "hazard", "cox"] = Field(
        description="published: progression by the sample's own interval; or a survival model: the hazard of each "
        "interval, or cox"
    )
    survival: Survival = Field(Survival(), description="the times of heads hazard and cox")

    @model_validator(mode="after")
    def _head_fits(self) -> "ProgressionTask":
        if len(self.targets) != 1:
            raise ValueError("progression has one target, without keys, `targets: {name: {}}`")
        if self.fusion == "attention" and self.unit != "eye":
            raise ValueError("`fusion: attention` joins the visits of an eye: `unit: eye`")
        if self.head == "published":
            if self.unit != "image" or self.survival.intervals:
                raise ValueError(
                    "head published looks at one image, by the sample's own interval: `unit: image`, no `intervals`"
                )
            return self
        if self.training.recipe == "published":
            raise ValueError(f"`recipe: published` belongs to head published, not to {self.head}")
        if len(self.survival.intervals) < 2 or not self.survival.horizons:
            raise ValueError(
                f"head {self.head} needs `survival: {{intervals: [...], horizons: [...]}}`, two intervals at least"
            )
        return self

    def labels(self) -> dict[str, LabelledTarget]:
        """Return the target as `fuse` reads it from labels: the datasets' events."""
        seen = LabelledTarget(type="binary", column=EVENT, classes=CLASSES, values=[[0], [1]])
        return dict.fromkeys(self.targets, seen)

    def specs(self) -> dict[str, TargetSpec]:
        """Return the target as decoders and metrics see it: a yes or no, or an event in time."""
        if self.head == "published":
            return dict.fromkeys(self.targets, TargetSpec(type="binary", classes=CLASSES))
        times = {"intervals": self.survival.intervals, "horizons": self.survival.horizons}
        return dict.fromkeys(self.targets, TargetSpec(type="event", form=self.head, **times))

    def audited_targets(self) -> dict[str, LabelledTarget]:
        """Return none: an image may well have progressed by one day, and not by an earlier one."""
        return {}

    def recipe_file(self, name: str, modalities: Collection[str]) -> Path:
        """Return the file of a recipe's values; `sound` depends on the head."""
        sound = "forecast" if self.head == "published" else self.head
        return sibling(__file__, "published" if name == "published" else sound)

    def head_name(self) -> str:
        """Return what metrics call its decoder."""
        return self.head

    def fuse_keys(self) -> Mapping[str, Any]:
        """Return the head, by which one image or eye becomes one sample or several."""
        return {"progression": self.head}

    def train_keys(self) -> Mapping[str, Any]:
        """Return the head, and over how many visits of an eye it looks."""
        return {"head": self.head, "visits": self.survival.visits if self.unit == "eye" else None}


def problems(task: Raw, datasets: Sequence[RawDataset]) -> Iterator[tuple[Location, str]]:
    """Yield the datasets that do not say when their eyes got worse."""
    for dataset in datasets:
        if dataset.block and not has_outcome(dataset.block):
            reason = "has no progression: layout forecasting, or a table's columns interval and event"
            yield dataset.place, f"{dataset.name} {reason}"


KIND = TaskKind(
    name="progression",
    block=ProgressionTask,
    family="vectors",
    scoring="visionfm.tasks.progression.score",
    timed=True,
    problems=problems,
    sections=(
        Section(
            ProgressionTask,
            "tasks.NAME, kind: progression",
            "Its datasets say when an eye got worse: layout forecasting or a table with columns `interval` and "
            "`event`. Of an eye (`unit: eye`) the first visit with an outcome is the baseline; visits before it join "
            "by attention, those after it are not used. So that a later visit is the baseline, leave the outcomes of "
            "earlier ones empty, by a rule that does not look at the event. A dataset of layout forecasting tells "
            "heads hazard and cox when progression was first seen; where it was merely known on one day, head "
            "published is the right one.",
            """
datasets:
  followed:
    modality: Fundus
    root: data/followed
    layout: table
    table: visits.csv
    columns: {image: file, subject: patient, eye: eye, visit: date, interval: days, event: worse}
tasks:
  glaucoma:
    kind: progression
    datasets: [followed]
    models: [visionfm]
    unit: eye
    fusion: attention
    head: hazard
    survival: {intervals: [365, 730, 1095, 1460], horizons: [730, 1460], visits: 3}
    targets: {progressed: {}}
""",
            (
                RecipeTable(
                    f"The recipes of progression; `sound` depends on the head. {FIXED}",
                    Recipe,
                    {
                        "sound, head published": sibling(__file__, "forecast"),
                        "sound, head hazard": sibling(__file__, "hazard"),
                        "sound, head cox": sibling(__file__, "cox"),
                        "published": sibling(__file__, "published"),
                    },
                ),
            ),
        ),
        Section(
            EventTarget,
            "tasks.NAME.targets.NAME, kind: progression",
            "The target has a name and no keys: `targets: {progressed: {}}`.",
        ),
        Section(Survival, "tasks.NAME.survival", "Times of heads hazard and cox, in days after the baseline."),
    ),
)
