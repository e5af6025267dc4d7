"""The config's `columns` block: which columns of a table mean what."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from visionfm.config.base import Name, Strict
from visionfm.config.settings import without_defaults
from visionfm.data.spelling import Normalise
from visionfm.images.containers import CONTAINERS, Container


def _as_text(value: object) -> object:
    """Return the codes of a block as text: YAML reads 1 and true as no text, a table has them so."""
    if not isinstance(value, Mapping):
        return value
    return {_code(code): _code(meaning) for code, meaning in value.items()}


def _code(value: object) -> object:
    return str(int(value)) if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


FORMATS = {one.name.lower(): one for one in CONTAINERS if one.header is not None}
Eye = Literal["R", "L"]
SplitName = Literal["train", "validation", "test"]
Codes = BeforeValidator(_as_text)


class EyeColumn(Strict):
    """The eye, where its column holds codes."""

    column: str = Field(description="the column")
    values: Annotated[dict[str, Eye], Codes] = Field({}, description="what its codes mean: `{1: R, 2: L}`")
    trusted: bool = Field(
        False, description="believe it where the header of an image (DICOM) says the other eye, which is an error else"
    )

    @model_serializer(mode="wrap")
    def _without_what_is_left_out(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, plain(self), ("trusted",))


class SplitColumn(Strict):
    """The split, where its column holds codes or folds."""

    column: str = Field(description="the column")
    values: Annotated[dict[str, SplitName], Codes] = Field(
        description="what its codes mean: `{0: test}`; where none is said to be train, all that are not named are"
    )


class EventColumn(Strict):
    """Whether progression was seen, where its column holds codes."""

    column: str = Field(description="the column")
    values: Annotated[dict[str, Literal["0", "1"]], Codes] = Field(description="codes: `{yes: 1, no: 0}`")


class TargetColumn(Strict):
    """A target's column, where its name does not say enough."""

    column: str | None = Field(None, description="the column")
    R: str | None = Field(None, description="the right eye's column, in a table with one row per person (`images`)")
    L: str | None = Field(None, description="the left eye's column there")
    columns: list[str] = Field([], description="columns of several graders of the same question")
    aggregate: str | None = Field(
        None,
        description="how several graders (`columns`, or several rows of an image) become one answer: majority (none "
        "where two are equally frequent), max, mean, or the column of a consensus",
    )
    values: Annotated[dict[str, str | None], Codes] = Field(
        {},
        description="what its codes mean: `{1: amd, 2: dme, 9: null}`, null for unknown; all of them",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "TargetColumn":
        eyes = self.R is not None or self.L is not None
        if (self.column is not None) + eyes + bool(self.columns) != 1:
            raise ValueError("needs one of `column`, `columns` (of several graders), or R and L")
        if len(self.columns) == 1 or (self.columns and self.aggregate is None):
            raise ValueError("`columns` are those of two graders or more, and need `aggregate`")
        if self.aggregate is not None and (eyes or (self.column is not None and self.consensus is not None)):
            raise ValueError("`aggregate` joins `columns`, or the rows of an image by majority, max or mean")
        return self

    @property
    def consensus(self) -> str | None:
        """Return the column of a consensus."""
        return None if self.aggregate in (None, "majority", "max", "mean") else self.aggregate

    @property
    def read(self) -> list[str]:
        """Return the columns that it is read from."""
        return [name for name in (self.column, self.R, self.L, *self.columns, self.consensus) if name is not None]


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


class GroupColumn(Strict):
    """What people are told apart by, where a column's name does not say enough."""

    column: str = Field(description="the column")
    cut: list[float] = Field(
        [], description="numbers at which a group begins: `[50, 65]` gives below 50, 50 to 65, 65 and above"
    )
    values: Annotated[dict[str, str | None], Codes] = Field(
        {}, description="what its codes mean: `{1: female, 2: male, 9: null}`, null for unknown; all of them"
    )

    @model_validator(mode="after")
    def _cuts_rise(self) -> "GroupColumn":
        if self.cut != sorted(set(self.cut)):
            raise ValueError(f"cut: expected rising numbers, found {self.cut}")
        if self.cut and self.values:
            raise ValueError("`cut` is of numbers, `values` of codes: name one of them")
        return self


class Columns(Strict):
    """Which columns of a table mean what; in other layouts, which labels make a target.

    Subject, eye, visit, mm_per_px and targets can be read from the images' own headers instead, in any layout:
    `dicom.PatientID` is the keyword of the standard after the format's name.
    """

    image: str | None = Field(
        None,
        description="path of the image, relative to root: a column, or a template of columns such as `{id_code}.png`; "
        "`{ID:03d}` is its number, padded with zeros",
    )
    images: dict[Eye, str] = Field(
        {}, description="in a table with one row per person: the image of each eye, `{R: column, L: column}`"
    )
    subject: str | SubjectColumn | None = Field(None, description="the person; splits and intervals go by it")
    eye: str | EyeColumn | None = Field(
        None, description="R or L (also OD, OS, RE, LE, right, left, and these words in several languages)"
    )
    visit: str | VisitColumn | None = Field(None, description="a date or a number")
    split: str | SplitColumn | None = Field(None, description="train, validation or test (also training, val)")
    interval: str | None = Field(
        None, description="days from the visit to the event, or to the end of follow-up; or that day's date"
    )
    event: str | EventColumn | None = Field(
        None, description="1: progression was seen at `interval`, 0: not until then"
    )
    targets: dict[Name, str | list[str] | TargetColumn] = Field(
        {}, description="target: column; or a list of one-hot columns; or a block for codes"
    )
    groups: dict[Name, str | GroupColumn] = Field(
        {},
        description="what people and images are told apart by (sex, age, camera, site): each group is measured by "
        "itself, and compared with the rest; eye and modality come by themselves",
    )
    mask: str | None = Field(
        None, description="path of the image's mask of classes, relative to root: a column, or a template"
    )
    masks: dict[Name, str] = Field(
        {},
        description="structure: path of its own mask (not 0 where it is), for a file per structure. A task's classes "
        "have them as pixel values 1, 2, ... in this order, 0 beside them; where they overlap the later one covers",
    )
    no_mask: Literal["unknown", "background"] = Field(
        "unknown", description="background: where an image has no file (or an empty cell), nothing is to be seen"
    )
    mask2: str | None = Field(None, description="path of a second observer's mask; human agreement is then reported")
    fov: str | None = Field(None, description="path of a mask of the field of view (0 is outside)")
    points: dict[Name, list[str]] = Field(
        {}, description="point: [x column, y column], pixels of the stored image; (0, 0) is the first pixel's centre"
    )
    mm_per_px: str | float | list[str] | list[float] | None = Field(
        None, description="size of a stored pixel in mm: a column or a number; [across, down] where the two differ"
    )

    @model_serializer(mode="wrap")
    def _without_what_is_left_out(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, plain(self), ("images", "groups", "masks", "no_mask"))

    @model_validator(mode="after")
    def _eyes_fit(self) -> "Columns":
        if self.images and (self.image is not None or self.eye is not None):
            raise ValueError("`images` names the image of each eye: no `image` and no `eye` beside it")
        eyes = [name for name, one in self.targets.items() if isinstance(one, TargetColumn) and (one.R or one.L)]
        if eyes and not self.images:
            raise ValueError(f"targets with columns for R and L ({', '.join(eyes)}) need `images` for R and L")
        return self

    @model_validator(mode="after")
    def _groups_are_others(self) -> "Columns":
        if taken := sorted({"eye", "modality", "dataset"} & set(self.groups)):
            raise ValueError(f"groups: {', '.join(taken)} comes by itself, or has another name: a device, a site")
        return self

    @model_validator(mode="after")
    def _dense_columns_fit(self) -> "Columns":
        if wrong := sorted(name for name, pair in self.points.items() if len(pair) != 2):
            raise ValueError(f"points: expected [x column, y column]; not so: {', '.join(wrong)}")
        if self.mask is not None and self.masks:
            raise ValueError("`mask` is one file of all classes, `masks` a file per structure: name one of them")
        if self.no_mask == "background" and self.mask is None and not self.masks:
            raise ValueError("no_mask says what an image without its `mask` or `masks` shows: name these too")
        if self.mask is None and self.mask2 is not None:
            raise ValueError("mask2 is a second observer's; `mask` names the first's")
        if isinstance(self.mm_per_px, list) and len(self.mm_per_px) != 2:
            raise ValueError("mm_per_px: expected one column or number, or two: [across, down]")
        if self.mm_numbers is not None and min(self.mm_numbers) <= 0:
            raise ValueError("mm_per_px must be greater than 0")
        return self

    @property
    def mm_numbers(self) -> tuple[float, float] | None:
        """Return the size of a stored pixel, (across, down) in mm, where the config says it itself."""
        size = self.mm_per_px
        across, down = size if isinstance(size, list) else (size, size)
        return (across, down) if isinstance(across, float) and isinstance(down, float) else None

    @property
    def mm_columns(self) -> tuple[str, str] | None:
        """Return the columns of the size of a stored pixel, (across, down)."""
        size = self.mm_per_px
        across, down = size if isinstance(size, list) else (size, size)
        return (across, down) if isinstance(across, str) and isinstance(down, str) else None

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
    def eye_column(self) -> str | None:
        """Return the column of the eye."""
        return self.eye.column if isinstance(self.eye, EyeColumn) else self.eye

    @property
    def split_column(self) -> str | None:
        """Return the column of the split."""
        return self.split.column if isinstance(self.split, SplitColumn) else self.split

    @property
    def event_column(self) -> str | None:
        """Return the column of the event."""
        return self.event.column if isinstance(self.event, EventColumn) else self.event

    def of_files(self) -> dict[str, str]:
        """Return what is read from the images' headers: role, or target, to a name such as `dicom.PatientID`."""
        visit = self.visit_column
        roles = {
            "subject": self.subject_column,
            "eye": self.eye_column,
            "visit": visit.column if visit else None,
            "mm_per_px": self.mm_per_px if isinstance(self.mm_per_px, str) else None,
        }
        roles |= {f"targets.{name}": column for name, one in self.targets.items() for column in target_columns(one)}
        return {role: column for role, column in roles.items() if column is not None and of_file(column) is not None}

    def of_table(self) -> "Columns":
        """Return the columns that a table has."""
        elsewhere = self.of_files()
        own = {name: one for name, one in self.targets.items() if f"targets.{name}" not in elsewhere}
        return self.model_copy(update=dict.fromkeys((name for name in elsewhere if "." not in name), None) | {
            "targets": own})  # fmt: skip

    @property
    def group_columns(self) -> dict[str, GroupColumn]:
        """Return what people are told apart by, and how each column is read."""
        return {name: GroupColumn(column=one) if isinstance(one, str) else one for name, one in self.groups.items()}

    @property
    def has_masks(self) -> bool:
        """Return whether some column names mask files."""
        return any((self.mask, self.masks, self.mask2, self.fov))


def target_columns(target: str | list[str] | TargetColumn) -> list[str]:
    """Return the columns that a target is read from."""
    return [target] if isinstance(target, str) else target if isinstance(target, list) else target.read


def of_file(column: str) -> tuple[Container, str] | None:
    """Return the format and the name in its header that a column is read from; None for a column of a table."""
    name, point, keyword = column.partition(".")
    return (FORMATS[name], keyword) if point and name in FORMATS and keyword[:1].isupper() else None
