"""The config's `datasets` blocks: where images and labels lie, what columns mean, how splits are drawn."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from visionfm.config.base import Fraction, Name, Natural, Positive, Strict

DENSE_COLUMNS = (  # of both, where there are masks or points
    *("mask_path", "mask_id", "mask_values", "mask2_path", "mask2_id", "mask2_values", "fov_path", "fov_id"),
    *("points", "mm_per_px", "width", "height", "orientation"),
)
LABEL_COLUMNS = ("path", "image_id", "subject_id", "eye", "visit", "split")
SAMPLE_COLUMNS = (
    *("sample_id", "subject_id", "eye", "visit", "dataset", "split", "images"),
    *("interval_days", "days_before"),
)
SMALLEST_PACK_PX = 64
Layout = Literal["vfm", "imagefolder", "table", "segmentation", "landmark", "forecasting"]


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


class Split(Strict):
    """How a dataset without given splits is divided; validation is always drawn from the training subjects."""

    validation: Fraction = Field(0.15, description="fraction of the training groups that selects models")
    test: Fraction | None = Field(None, description="fraction of all groups, drawn where no test split is given")
    test_subjects: list[str] = Field([], description="subjects of the test split by name; all others train")
    by: Literal["subject", "eye", "image"] = Field("subject", description="what is never divided between splits")
    stratify: Name | None = Field(None, description="a target whose values are spread evenly over the splits")
    seed: Natural = Field(0, description="another seed, another draw")
    like: Name | None = Field(None, description="a dataset of the same cohort whose subjects' splits are taken over")


class Pack(Strict):
    """Write a dataset's images once, pre-shrunk, into few large files; pretraining reads these."""

    size: Annotated[int, Field(ge=SMALLEST_PACK_PX)] = Field(
        512, description="shorter side in px; smaller images stay as they are"
    )


class Dataset(Strict):
    """Images of one modality below one folder, and their labels."""

    modality: str = Field(description="one of the published eight, an alias, or one of `modalities`")
    root: str = Field(description="the folder, relative to the working directory")
    layout: Layout = Field(description="how images and labels lie in it")
    images: str | None = Field(None, description="glob below root that limits what counts as an image of the dataset")
    table: str | None = Field(None, description="CSV, TSV or Parquet of labels, relative to root (layout table)")
    labels: list[Name] | Literal["none"] | None = Field(
        None,
        description="names for a vfm label line's values, for the channels of landmark arrays, or the one name of "
        "image folders' classes; `none`: no labels",
    )
    columns: Columns = Field(Columns(), description="what the columns mean")
    path_pattern: str | None = Field(
        None, description="regular expression with named groups subject, eye, visit, searched in the image's path"
    )
    cohort: Name | None = Field(
        None, description="datasets that share it share subject ids; default: the dataset's own name"
    )
    split: Split = Field(Split(), description="how splits are drawn where they are not given")
    frame: Natural | None = Field(
        None, description="which frame of animated or multi-page images; otherwise they are errors"
    )
    bad_images: Literal["fail", "skip"] = Field("fail", description="skip leaves unreadable images out and lists them")
    max_megapixels: float = Field(200, gt=0, description="larger images are refused from their header")
    watch: Literal["files", "folders", "none"] = Field(
        "files", description="what tells that images changed: each file's size and date, the folders' dates, nothing"
    )
    shards: Positive = Field(1, description="parts that are indexed and extracted as separate jobs")
    pack: Pack | None = Field(None, description="packs its images, pre-shrunk, for pretraining")
    max_rows: Positive = Field(100_000, description="images a cache file at most; more need shards")
    allow_leakage: str | None = Field(
        None, min_length=10, description="a written reason that lets `audit` pass; the report prints it"
    )
    export: Literal["parquet"] | None = Field(None, description="also write the features as flat Parquet")

    @model_validator(mode="after")
    def _layout_has_what_it_needs(self) -> "Dataset":
        if self.layout == "table" and (self.table is None or self.columns.image is None) and self.labels != "none":
            raise ValueError("layout table needs `table` and `columns: {image: ...}` (or `labels: none`)")
        if self.layout == "vfm" and self.labels is None:
            raise ValueError("layout vfm needs `labels`: names for the values of a line, or `none`")
        if self.layout == "imagefolder" and isinstance(self.labels, list) and len(self.labels) != 1:
            raise ValueError("layout imagefolder has one label, the folder's name: `labels: [name]`")
        if self.layout == "forecasting" and isinstance(self.labels, list):
            raise ValueError("layout forecasting has the labels `event` and `interval_days`; leave `labels` away")
        if (self.columns.interval is None) != (self.columns.event is None):
            raise ValueError("`columns` needs both interval and event, or neither")
        if self.layout != "table" and self.table is not None:
            raise ValueError("`table` belongs to layout table")
        if self.layout == "table" and isinstance(self.labels, list):
            raise ValueError("layout table names its labels in `columns: {targets: {name: column}}`, not in `labels`")
        if self.split.test_subjects and (self.split.test is not None or self.columns.split is not None):
            raise ValueError("split.test_subjects stands for itself: no split.test and no columns.split beside it")
        if self.layout == "segmentation" and isinstance(self.labels, list):
            raise ValueError("layout segmentation has masks as labels; their classes stand in the task's target")
        if self.layout == "landmark" and self.labels is None:
            raise ValueError("layout landmark needs `labels`: names for the channels of its arrays, or `none`")
        allowed = {"mm_per_px"} if self.layout in ("segmentation", "landmark") else {"targets"}
        if self.layout != "table" and self.columns.model_fields_set - allowed:
            raise ValueError("only layout table has columns; take subject, eye and visit by `path_pattern`")
        if self.layout != "table" and isinstance(self.columns.mm_per_px, str):
            raise ValueError("only layout table has a column of `mm_per_px`; elsewhere it is one number")
        if self.layout == "table" and self.columns.has_masks and self.images is None:
            raise ValueError("masks lie below the root too: say which files are images, as in `images: 'images/*'`")
        return self
