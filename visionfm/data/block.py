"""The config's `datasets` blocks: where images and labels lie, what columns mean, how splits are drawn."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from visionfm.config.base import Fraction, Name, Natural, Positive, Strict
from visionfm.data.layouts import LAYOUTS, answers
from visionfm.data.layouts.columns import Columns
from visionfm.data.public import check_known
from visionfm.data.tables.block import TableFile
from visionfm.images.settings import Frames

DENSE_COLUMNS = (  # of both, where there are masks or points
    *("mask_path", "mask_id", "mask_values", "mask2_path", "mask2_id", "mask2_values", "fov_path", "fov_id"),
    *("points", "mm_per_px", "width", "height", "orientation"),
)
LABEL_COLUMNS = ("path", "image_id", "copy_id", "subject_id", "group_id", "eye", "visit", "split")
GROUP = "group:"  # before the name of what people are told apart by, which may be that of a label, too
SAMPLE_COLUMNS = (
    *("sample_id", "subject_id", "eye", "visit", "dataset", "split", "images"),
    *("interval_days", "days_before", "visits_with_outcome"),
)
SMALLEST_PACK_PX = 64
if TYPE_CHECKING:
    LayoutName = str
else:
    LayoutName = Literal[tuple(LAYOUTS)]


class Split(Strict):
    """How a dataset without given splits is divided; validation is always drawn from the training subjects."""

    validation: Fraction = Field(0.15, description="fraction of the training groups that selects models")
    test: Fraction | None = Field(None, description="fraction of all groups, drawn where no test split is given")
    test_subjects: list[str] = Field([], description="subjects of the test split by name; all others train")
    by: Literal["subject", "eye", "image"] = Field("subject", description="what is never divided between splits")
    stratify: Name | None = Field(None, description="a target whose values are spread evenly over the splits")
    seed: Natural = Field(0, description="another seed, another draw")
    like: Name | None = Field(None, description="a dataset of the same cohort whose subjects' splits are taken over")


class Ids(Strict):
    """What becomes of the ids of people."""

    hash: str = Field(
        description="a file with this site's secret key: results hold HMAC-SHA256 of each id in its place; datasets of "
        "one cohort need the same key"
    )


class Pack(Strict):
    """Write a dataset's images once, pre-shrunk, into few large files; pretraining reads these."""

    size: Annotated[int, Field(ge=SMALLEST_PACK_PX)] = Field(
        512, description="shorter side in px; smaller images stay as they are"
    )


class Dataset(Strict):
    """Images of one modality below one folder, and their labels."""

    modality: str = Field(description="one of the published eight, an alias, or one of `modalities`")
    root: str = Field(description="the folder, relative to the working directory")
    layout: LayoutName = Field(description="how images and labels lie in it")
    images: str | None = Field(
        None,
        description="glob below root that limits what counts as an image of the dataset; with a / at its end it names "
        "folders, each a volume whose slices are the pictures in it",
    )
    table: str | TableFile | None = Field(
        None, description="CSV, TSV, .xlsx, .xls, .ods or Parquet of labels, relative to root (layout table)"
    )
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
    ids: Ids | None = Field(None, description="ids of people as a hash; without it they stand in results as given")
    split: Split = Field(Split(), description="how splits are drawn where they are not given")
    frame: Natural | Literal["enface"] | None = Field(
        None,
        description="which frame of animated or multi-page images; otherwise they are errors. `enface`: the picture of "
        "the fundus that came with a volume",
    )
    frames: Frames | None = Field(
        None,
        description="frames of a file (slices of a volume) that are images of their own: `all`, a number of them, "
        "evenly spread, `{every: 5}` or `{middle: 12}`",
    )
    views: Literal["identity", "flips"] | None = Field(
        None,
        description="what heads on vectors train on: the image alone, or its four flips, which take four times the "
        "encoding and the cache; default flips, with `frames` identity",
    )
    bits: Annotated[int, Field(ge=8, le=16)] | None = Field(
        None, description="how many bits 16-bit grey images use: 12 for a camera's twelve in the lowest bits"
    )
    missing: Literal["fail", "skip"] = Field(
        "fail", description="skip leaves out the rows of labels whose image is not there, and lists them"
    )
    bad_images: Literal["fail", "skip"] = Field("fail", description="skip leaves unreadable images out and lists them")
    max_megapixels: float = Field(200, gt=0, description="larger images are refused from their header")
    watch: Literal["files", "folders", "none"] = Field(
        "files", description="what tells that images changed: each file's size and date, the folders' dates, nothing"
    )
    shards: Positive = Field(1, description="parts that are indexed and extracted as separate jobs")
    pack: Pack | None = Field(None, description="packs its images, pre-shrunk, for pretraining")
    max_rows: Positive = Field(100_000, description="images a cache file at most; more need shards")
    public: Name | None = Field(
        None,
        description="the public set that its images are of, by its name in visionfm/data/public.yaml; `audit` says "
        "which encoders were trained on it, or on its copies",
    )
    allow_leakage: str | None = Field(
        None, min_length=10, description="a written reason that lets `audit` pass; the report prints it"
    )
    export: Literal["parquet"] | None = Field(
        None, description="also write the features as flat Parquet; where no task reads them, by every model"
    )

    @field_validator("public")
    @classmethod
    def _is_known(cls, public: str | None) -> str | None:
        return check_known("sets", public)

    @model_validator(mode="after")
    def _layout_has_what_it_needs(self) -> "Dataset":
        problems = list(LAYOUTS[self.layout].problems(self))
        if (self.columns.interval is None) != (self.columns.event is None):
            problems.append("`columns` needs both interval and event, or neither")
        if self.split.test_subjects and (self.split.test is not None or self.columns.split is not None):
            problems.append("split.test_subjects stands for itself: no split.test and no columns.split beside it")
        if self.frames is not None and self.frame is not None:
            problems.append("`frame` picks one image of each file, `frames` makes images of several: name one")
        if self.frames is not None and answers(self.layout) == "points":
            problems.append(
                f"layout {self.layout} has an array of points for a file: no `frames` beside it; in layout "
                "table a row that names a slice (`scan.tif#12`) has points"
            )
        if self.ids is not None and self.split.test_subjects:
            problems.append("split.test_subjects would bring ids into results, which `ids` hashes: give a split column")
        if self.ids is not None and self.path_pattern is not None and "(?P<subject>" in self.path_pattern:
            problems.append("paths stand in results: `ids` cannot hash a subject that is named in file names")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def trained_views(self) -> str:
        """Return what heads on vectors train on: `identity` or `flips`; of volumes the images alone, unless asked."""
        return self.views or ("flips" if self.frames is None else "identity")
