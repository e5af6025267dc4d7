"""The blocks `tasks.NAME.targets.NAME`: what a task predicts from the labels, for each kind of task."""

from typing import Any, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Positive, Scalar, Strict
from visionfm.tasks.settings import LabelledTarget

Classes = Positive | list[Scalar] | dict[str, Scalar | list[Scalar]]
COLUMN: Any = Field(None, description="the label it is made from; default: the target's own name")
WEIGHT: Any = Field(1.0, gt=0, description="of its loss")
UNKNOWN: Any = Field([], description="labels that mean unknown, beside empty ones")
AGGREGATE = "how labels that disagree inside a unit become one; otherwise they are an error"


class ClassTarget(Strict):
    """A class of several, or for each of several classes whether it is there."""

    type: Literal["binary", "multiclass", "multilabel"] = Field(
        description="two classes, one of several, or any of several"
    )
    column: Name | None = COLUMN
    classes: Classes | None = Field(
        None,
        description="a number (labels 0..n-1), the labels in order, or name: label(s); multilabel: the label columns",
    )
    ordered: bool = Field(False, description="classes are grades: adds quadratic kappa")
    weight: float = WEIGHT
    unknown: list[Scalar] = UNKNOWN
    aggregate: Literal["max", "latest", "first"] | None = Field(None, description=AGGREGATE)

    @model_validator(mode="after")
    def _classes_fit(self) -> "ClassTarget":
        if self.type in ("multiclass", "multilabel") and self.classes is None:
            raise ValueError(f"{self.type} needs `classes`")
        if self.type == "multilabel" and not isinstance(self.classes, list):
            raise ValueError("multilabel needs `classes`: the list of its label columns")
        count = self.classes if isinstance(self.classes, int) else len(self.classes or ())
        if self.type == "binary" and self.classes is not None and count != 2:
            raise ValueError("binary has two classes, the negative one first")
        if (self.type == "multiclass" and count < 2) or (self.type == "multilabel" and count < 1):
            raise ValueError(
                f"{self.type} needs {'two classes' if self.type == 'multiclass' else 'one label'} at least"
            )
        if doubled := doubled_labels(self.classes):
            raise ValueError(f"`classes` must differ; these stand twice: {', '.join(doubled)}")
        return self

    def labelled(self, name: str) -> LabelledTarget:
        """Return it as `fuse` reads it from labels."""
        names, values = named_classes(self.classes)
        return LabelledTarget(
            type=self.type,
            column=self.column or name,
            classes=names,
            values=values,
            ordered=self.ordered,
            weight=self.weight,
            unknown=self.unknown,
            aggregate=self.aggregate,
        )


class ValueTarget(Strict):
    """A number."""

    type: Literal["value"] = Field(description="a number in a unit")
    column: Name | None = COLUMN
    weight: float = WEIGHT
    unit: str | None = Field(None, description="for reports")
    unknown: list[Scalar] = UNKNOWN
    aggregate: Literal["max", "mean", "latest", "first"] | None = Field(None, description=AGGREGATE)

    def labelled(self, name: str) -> LabelledTarget:
        """Return it as `fuse` reads it from labels."""
        return LabelledTarget(
            type=self.type,
            column=self.column or name,
            weight=self.weight,
            unit=self.unit,
            unknown=self.unknown,
            aggregate=self.aggregate,
        )


def named_classes(given: Classes | None) -> tuple[list[str], list[list[Scalar]]]:
    """Return class names and, for each, the labels that mean it."""
    if given is None:
        return ["negative", "positive"], [[0], [1]]
    if isinstance(given, int):
        return [str(index) for index in range(given)], [[index] for index in range(given)]
    if isinstance(given, list):
        return [str(value) for value in given], [[value] for value in given]
    return list(given), [value if isinstance(value, list) else [value] for value in given.values()]


def doubled_labels(classes: Classes | None) -> list[str]:
    """Return labels that mean two classes; 1, 1.0, true and `1` are one label."""
    if classes is None or isinstance(classes, int):
        return []
    labels = classes if isinstance(classes, list) else list(classes.values())
    flat = [label for one in labels for label in (one if isinstance(one, list) else [one])]
    texts = [f"{float(label):g}" if isinstance(label, bool | int | float) else label for label in flat]
    return sorted({text for text in texts if texts.count(text) > 1})
