"""The config's `columns` block: which columns of a table mean what."""

import re
from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from visionfm.config.base import Name, Strict
from visionfm.data.spelling import Normalise


class SubjectColumn(Strict):
    """The person, where a column's name does not say enough."""

    column: str | None = Field(None, description="the column; left away where `path_pattern` names the subject")
    normalise: Normalise | None = Field(
        None,
        description="ids that differ in their spelling are an error: `text` leaves case, spaces and separators out, "
        "`digits` leading zeros too, `exact` says that they are different people",
    )


class VisitColumn(Strict):
    """The visit, where a column's name does not say enough."""

    column: str = Field(description="the column")
    format: str | None = Field(
        None, description="how its dates are written, as Python's strptime has it: `%d/%m/%Y`; without one, as in ISO"
    )
    order: Literal["natural"] | None = Field(
        None, description="natural: the numbers in names such as V2 and V10 order the visits"
    )

    @model_validator(mode="after")
    def _dates_have_their_own_order(self) -> "VisitColumn":
        if self.format is not None and self.order is not None:
            raise ValueError("dates have an order of their own: give `format` or `order`")
        if self.format is not None:
            try:
                datetime.strptime(datetime(2000, 1, 1).strftime(self.format), self.format)
            except (ValueError, re.error) as error:
                raise ValueError(f"format: {error}") from error
        return self


class Columns(Strict):
    """Which columns of a table mean what; in other layouts, which labels make a target."""

    image: str | None = Field(
        None,
        description="path of the image, relative to root: a column, or a template of columns such as `{id_code}.png`",
    )
    subject: str | SubjectColumn | None = Field(None, description="the person; splits and intervals go by it")
    eye: str | None = Field(None, description="R or L (also OD, OS, right, left)")
    visit: str | VisitColumn | None = Field(None, description="a date or a number")
    split: str | None = Field(None, description="train, validation or test (also training, val)")
    interval: str | None = Field(
        None, description="days from the visit to the event, or to the end of follow-up; or that day's date"
    )
    event: str | None = Field(None, description="1: progression was seen at `interval`, 0: not until then")
    targets: dict[Name, str | list[str]] = Field({}, description="target: column; or a list of one-hot columns")
    mask: str | None = Field(None, description="path of the image's mask of classes, relative to root")
    mask2: str | None = Field(None, description="path of a second observer's mask; human agreement is then reported")
    fov: str | None = Field(None, description="path of a mask of the field of view (0 is outside)")
    points: dict[Name, list[str]] = Field(
        {}, description="point: [x column, y column], pixels of the stored image; (0, 0) is the first pixel's centre"
    )
    mm_per_px: str | float | None = Field(None, description="size of a stored pixel in mm: a column, or one number")

    @model_validator(mode="after")
    def _dense_columns_fit(self) -> "Columns":
        if wrong := sorted(name for name, pair in self.points.items() if len(pair) != 2):
            raise ValueError(f"points: expected [x column, y column]; not so: {', '.join(wrong)}")
        if self.mask is None and self.mask2 is not None:
            raise ValueError("mask2 is a second observer's; `mask` names the first's")
        if isinstance(self.mm_per_px, float) and self.mm_per_px <= 0:
            raise ValueError("mm_per_px must be greater than 0")
        return self

    @property
    def subject_column(self) -> str | None:
        """Return the column of the person."""
        return self.subject.column if isinstance(self.subject, SubjectColumn) else self.subject

    @property
    def normalise(self) -> Normalise | None:
        """Return what does not count in ids of people."""
        return self.subject.normalise if isinstance(self.subject, SubjectColumn) else None

    @property
    def visit_column(self) -> VisitColumn | None:
        """Return the column of the visit, and how it is read."""
        return VisitColumn(column=self.visit) if isinstance(self.visit, str) else self.visit

    @property
    def has_masks(self) -> bool:
        """Return whether some column names mask files."""
        return any((self.mask, self.mask2, self.fov))
