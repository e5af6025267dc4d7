"""The config's `columns` block: which columns of a table mean what."""

from pydantic import Field, model_validator

from visionfm.config.base import Name, Strict


class Columns(Strict):
    """Which columns of a table mean what; in other layouts, which labels make a target."""

    image: str | None = Field(
        None,
        description="path of the image, relative to root: a column, or a template of columns such as `{id_code}.png`",
    )
    subject: str | None = Field(None, description="the person; splits and intervals go by it")
    eye: str | None = Field(None, description="R or L (also OD, OS, right, left)")
    visit: str | None = Field(None, description="a date or a number")
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
    def has_masks(self) -> bool:
        """Return whether some column names mask files."""
        return any((self.mask, self.mask2, self.fov))
