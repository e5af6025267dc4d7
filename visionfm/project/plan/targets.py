"""What a task's targets are to each stage: to labels and samples, and to decoders and metrics."""

from visionfm.config.base import Scalar
from visionfm.project.plan import progression
from visionfm.tasks.block import Task
from visionfm.tasks.settings import LabelledTarget, TargetSpec
from visionfm.tasks.target import Target

DENSE_TYPES = {"segmentation": "mask", "landmarks": "point"}


def label_targets(task: Task) -> dict[str, LabelledTarget]:
    """Return a task's targets as `fuse` sees them: which column of the labels, and what its values mean."""
    return {name: _label_target(name, target, task.kind) for name, target in task.targets.items()}


def target_specs(task: Task) -> dict[str, TargetSpec]:
    """Return a task's targets as decoders and metrics see them."""
    if task.kind == "progression":
        return dict.fromkeys(task.targets, progression.target(task))
    fields = set(TargetSpec.model_fields)
    return {name: TargetSpec(**found.model_dump(include=fields)) for name, found in label_targets(task).items()}


def _label_target(name: str, target: Target, kind: str) -> LabelledTarget:
    if kind == "progression":
        return progression.label_target()
    classes, values = ([], []) if kind == "landmarks" else _classes(target)
    return LabelledTarget(
        type=target.type or DENSE_TYPES[kind],
        column=target.column or name,
        classes=classes,
        values=values,
        ordered=target.ordered,
        weight=target.weight,
        unit=target.unit,
        unknown=target.unknown,
        aggregate=target.aggregate,
    )


def _classes(target: Target) -> tuple[list[str], list[list[Scalar]]]:
    """Return class names and, for each, the labels that mean it."""
    given = target.classes
    if target.type == "value":
        return [], []
    if given is None:
        return ["negative", "positive"], [[0], [1]]
    if isinstance(given, int):
        return [str(index) for index in range(given)], [[index] for index in range(given)]
    if isinstance(given, list):
        return [str(value) for value in given], [[value] for value in given]
    return list(given), [value if isinstance(value, list) else [value] for value in given.values()]
