"""What dense tasks (segmentation, landmarks) add to a task's block, and what of it fits together."""

from typing import Any, Literal

from pydantic import Field

from visionfm.config.base import Name, Positive, Strict
from visionfm.tasks.progression.block import PROGRESSION_HEADS

DENSE_KINDS = ("segmentation", "landmarks")
DENSE_SIZE_PX = 512


class DenseCache(Strict):
    """How much disk the patch tokens of one dataset may take."""

    max_gb: float = Field(20, gt=0, description="above it nothing is cached and training encodes in its loop")


class DenseTask(Strict):
    """Keys of segmentation and landmark tasks."""

    image_size: Positive | None = Field(
        None, description=f"dense tasks: side of the square input in px; default {DENSE_SIZE_PX}"
    )
    head: Literal["light", "unetr", "linear", "published", "hazard", "cox"] | None = Field(
        None,
        description="dense tasks: light (default), or the published unetr and linear (unetr in recipe published);"
        " progression: published, or a survival model: hazard of each interval, cox",
    )
    dense_cache: DenseCache = Field(DenseCache(), description="dense tasks: the budget of cached patch tokens")
    tile_overlap: float | None = Field(
        None,
        ge=0,
        le=0.75,
        description="segmentation: tiles of `image_size` px at native resolution, overlapping by this; they stream",
    )
    probabilities: bool | None = Field(
        None, description="segmentation: also write probability maps; default: where there are two classes"
    )
    swaps: list[list[Name]] = Field(
        [], description="landmarks: pairs that change places when an image is mirrored left to right"
    )
    success_px: list[float] = Field(
        [2.0, 4.0, 8.0], description="landmarks: radial errors in px of the original image that count as success"
    )
    success_mm: list[float] = Field([], description="landmarks: the same in mm, where the images say mm_per_px")


class DenseTraining(Strict):
    """Keys of training that only dense tasks have; unset values are the recipe's own."""

    precision: Literal["fp32", "bf16"] | None = Field(None, description="dense tasks and fine-tuning: arithmetic")
    schedule: Literal["cosine", "step", "constant"] | None = Field(
        None, description="dense tasks: of the learning rate; step halves it every fifth of the epochs"
    )
    augmentation: Literal["none", "flips", "affine", "rich"] | None = Field(
        None,
        description="dense tasks: flips use cached views; affine (published for landmarks) adds small affine maps, rich"
        " larger ones, scale and colour; both stream",
    )
    crop_px: int | None = Field(
        None, ge=0, description="segmentation: train on random squares of about this side; 0: on whole images"
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="segmentation in two classes: the probability above which a pixel is of the second; default: that"
        " of the best mean Dice on the validation images (recipe published: 0.5)",
    )
    target_width: float | None = Field(
        None,
        ge=0,
        description="landmarks: standard deviation of a target in px of the input; 0: one pixel, as published",
    )


def dense_problem(task: Any) -> str | None:
    """Return what is wrong with a task's block as far as dense tasks are concerned, or None."""
    if task.kind not in DENSE_KINDS:
        shared = ("head",) if task.kind == "progression" else ()
        given = [name for name in DenseTask.model_fields if name in task.model_fields_set and name not in shared]
        dense = set(DenseTraining.model_fields) - ({"precision"} if task.training.mode == "finetune" else set())
        given += sorted(dense & task.training.model_fields_set)
        given += [f"`tubular` ({name})" for name, target in task.targets.items() if target.tubular is not None]
        if given:
            return f"only segmentation and landmarks have {', '.join(given)}"
        untyped = [name for name, target in task.targets.items() if target.type is None]
        untyped = [] if task.kind == "progression" else untyped
        return f"these targets need a `type`: {', '.join(untyped)}" if untyped else None
    typed = [name for name, target in task.targets.items() if target.type is not None]
    if typed:
        return f"targets of {task.kind} have no `type`: {', '.join(typed)}"
    if task.head in PROGRESSION_HEADS:
        return f"head {task.head} belongs to progression"
    if task.fusion != "pooled" or task.unit != "image":
        return f"{task.kind} has unit image and fusion pooled"
    unused = [name for name in ("features", "modality_dropout") if name in task.training.model_fields_set]
    unused += [name for name in ("train_fraction", "shots", "baselines") if name in task.model_fields_set]
    if unused:
        return f"{task.kind} has no {', '.join(unused)}"
    return _segmentation_problem(task) if task.kind == "segmentation" else _landmarks_problem(task)


def _segmentation_problem(task: Any) -> str | None:
    if len(task.targets) != 1:
        return "segmentation has one target: the mask, with its classes"
    foreign = [name for name in ("swaps", "success_px", "success_mm") if name in task.model_fields_set]
    if foreign or task.training.target_width is not None:
        return f"{', '.join([*foreign, 'target_width'][:1])} belongs to landmarks"
    ((name, target),) = task.targets.items()
    if target.classes is None or (isinstance(target.classes, int) and target.classes < 2):
        return f"{name} needs `classes`: two at least, the background first"
    values = [] if isinstance(target.classes, int) else target.classes
    listed = values if isinstance(values, list) else list(values.values())
    flat = [value for one in listed for value in (one if isinstance(one, list) else [one])]
    if len(listed) == 1 or any(isinstance(v, bool) or not isinstance(v, int) or not 0 <= v <= 255 for v in flat):
        return f"{name}: the classes of a mask are two or more, given by pixel values 0 to 255"
    if task.training.threshold is not None and (target.classes if listed == [] else len(listed)) != 2:
        return "a threshold parts two classes; of more the most probable is taken"
    if isinstance(target.classes, int) and target.classes > 256:
        return f"{name}: a mask of 8 bits has at most 256 classes"
    return None


def _landmarks_problem(task: Any) -> str | None:
    training = task.training
    if task.tile_overlap is not None or task.probabilities is not None:
        return "tile_overlap and probabilities belong to segmentation"
    if any(value is not None for value in (training.class_weighting, training.crop_px, training.threshold)):
        return "class_weighting, crop_px and threshold belong to segmentation"
    classed = [name for name, target in task.targets.items() if target.classes is not None]
    if classed:
        return f"a landmark has no classes: {', '.join(classed)}"
    flat = [name for pair in task.swaps for name in pair]
    if any(len(pair) != 2 for pair in task.swaps) or len(set(flat)) != len(flat) or set(flat) - set(task.targets):
        return "swaps are pairs of two of the targets, each in one pair at most"
    return None
