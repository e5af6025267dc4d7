"""The config's part on progression: whether and when an eye gets worse."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from visionfm.config.base import Positive, Strict

Days = Annotated[float, Field(gt=0)]
PROGRESSION_HEADS = ("published", "hazard", "cox")


class Survival(Strict):
    """Times of a `progression` task with head hazard or cox."""

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


class ProgressionTask(Strict):
    """Keys of progression tasks."""

    survival: Survival = Field(Survival(), description="progression: the times of heads hazard and cox")


def progression_problem(task: Any) -> str | None:
    """Return what is wrong with a task's block as far as progression is concerned, or None."""
    if task.kind != "progression":
        return "only progression has survival" if "survival" in task.model_fields_set else None
    head, survival, training = task.head, task.survival, task.training
    if head not in PROGRESSION_HEADS:
        return f"progression needs `head`: {', '.join(PROGRESSION_HEADS)}"
    if len(task.targets) != 1 or any(target.model_fields_set for target in task.targets.values()):
        return "progression has one target, without keys, `targets: {name: {}}`: what its datasets' event means"
    if (task.fusion, task.unit) not in (("pooled", "image"), ("attention", "eye")):
        return "progression is of images (`unit: image`, `fusion: pooled`) or eyes (`unit: eye`, `fusion: attention`)"
    if task.max_days is not None or training.class_weighting is not None:
        return "progression has no max_days and no class_weighting"
    if head == "published":
        if task.unit != "image" or survival.intervals:
            return "head published looks at one image, by the sample's own interval: `unit: image`, no `intervals`"
        return None
    if training.recipe == "published":
        return f"`recipe: published` belongs to head published, not to {head}"
    if len(survival.intervals) < 2 or not survival.horizons:
        return f"head {head} needs `survival: {{intervals: [...], horizons: [...]}}`, two intervals at least"
    return None
