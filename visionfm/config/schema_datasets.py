"""The config's `datasets` blocks: where images and labels lie, what columns mean, how splits are drawn."""

from typing import Literal

from pydantic import Field, model_validator

from visionfm.config.schema_base import Fraction, Name, Natural, Positive, Strict


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
    targets: dict[Name, str | list[str]] = Field({}, description="target: column; or a list of one-hot columns")


class Split(Strict):
    """How a dataset without given splits is divided; validation is always drawn from the training subjects."""

    validation: Fraction = Field(0.15, description="fraction of the training groups that selects models")
    test: Fraction | None = Field(None, description="fraction of all groups, drawn where no test split is given")
    by: Literal["subject", "eye", "image"] = Field("subject", description="what is never divided between splits")
    stratify: Name | None = Field(None, description="a target whose values are spread evenly over the splits")
    seed: Natural = Field(0, description="another seed, another draw")
    like: Name | None = Field(None, description="a dataset of the same cohort whose subjects' splits are taken over")


class Dataset(Strict):
    """Images of one modality below one folder, and their labels."""

    modality: str = Field(description="one of the published eight, an alias, or one of `modalities`")
    root: str = Field(description="the folder, relative to the working directory")
    layout: Literal["vfm", "imagefolder", "table"] = Field(description="how images and labels lie in it")
    images: str | None = Field(None, description="glob below root that limits what counts as an image of the dataset")
    table: str | None = Field(None, description="CSV, TSV or Parquet of labels, relative to root (layout table)")
    labels: list[Name] | Literal["none"] | None = Field(
        None,
        description="names for a vfm label line's values, or the one name of image folders' classes; `none`: no labels",
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
        if self.layout != "table" and self.table is not None:
            raise ValueError("`table` belongs to layout table")
        if self.layout == "table" and isinstance(self.labels, list):
            raise ValueError("layout table names its labels in `columns: {targets: {name: column}}`, not in `labels`")
        if self.layout != "table" and self.columns.model_fields_set - {"targets"}:
            raise ValueError("only layout table has columns; take subject, eye and visit by `path_pattern`")
        return self
