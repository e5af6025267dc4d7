"""The block `tasks.NAME.targets.NAME`: what a task predicts from the labels."""

from typing import Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Positive, Scalar, Strict


class Target(Strict):
    """What a task predicts from the labels."""

    type: Literal["binary", "multiclass", "multilabel", "value"] | None = Field(
        None, description="its kind of value; masks, points and progression have none"
    )
    column: Name | None = Field(None, description="the label it is made from; default: the target's own name")
    classes: Positive | list[Scalar] | dict[str, Scalar | list[Scalar]] | None = Field(
        None,
        description="a number (labels 0..n-1), the labels in order, or name: label(s); multilabel: the label columns;"
        " masks: pixel values",
    )
    ordered: bool = Field(False, description="classes are grades: adds quadratic kappa")
    weight: float = Field(1.0, gt=0, description="of its loss")
    tubular: bool | None = Field(
        None, description="masks: adds clDice; default: where `vessel` is in the target's name"
    )
    unit: str | None = Field(None, description="of a value, for reports")
    unknown: list[Scalar] = Field([], description="labels that mean unknown, beside empty ones")
    aggregate: Literal["max", "mean", "latest", "first"] | None = Field(
        None, description="how labels that disagree inside a unit become one; otherwise they are an error"
    )

    @model_validator(mode="after")
    def _classes_fit(self) -> "Target":
        if self.type == "value" and self.classes is not None:
            raise ValueError("a value has no classes")
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
        if doubled := _doubled(self.classes):
            raise ValueError(f"`classes` must differ; these stand twice: {', '.join(doubled)}")
        if self.aggregate == "mean" and self.type != "value":
            raise ValueError("`aggregate: mean` belongs to type value; for classes choose max, latest or first")
        return self


def _doubled(classes: int | list[Scalar] | dict[str, Scalar | list[Scalar]] | None) -> list[str]:
    """Return labels that mean two classes; 1, 1.0, true and `1` are one label."""
    if classes is None or isinstance(classes, int):
        return []
    labels = classes if isinstance(classes, list) else list(classes.values())
    flat = [label for one in labels for label in (one if isinstance(one, list) else [one])]
    texts = [f"{float(label):g}" if isinstance(label, bool | int | float) else label for label in flat]
    return sorted({text for text in texts if texts.count(text) > 1})
