"""The settings of `index`, `label` and `audit`."""

from typing import ClassVar, Literal

from visionfm.config.base import Scalar
from visionfm.config.settings import Settings
from visionfm.data.block import Ids, LayoutName, Split
from visionfm.data.layouts.columns import Columns
from visionfm.data.tables.block import TableFile
from visionfm.images.settings import Frames, Reading


class IndexSettings(Reading):
    """Of `index`."""

    modality: str
    layout: LayoutName
    images: str | None = None
    frames: Frames | None = None
    shard: int = 0
    shards: int = 1

    left_out: ClassVar[tuple[str, ...]] = (*Reading.left_out, "frames")


class LabelSettings(Settings):
    """Of `label`."""

    dataset: str
    layout: LayoutName
    images: str | None = None
    table: str | TableFile | None = None
    labels: list[str] | Literal["none"] | None = None
    columns: Columns = Columns()
    path_pattern: str | None = None
    cohort: str | None = None
    split: Split = Split()
    mask_values: dict[str, list[int]] = {}  # task -> the pixel values that are its classes
    missing: Literal["fail", "skip"] = "fail"
    ids: Ids | None = None
    frames: Frames | None = None

    left_out: ClassVar[tuple[str, ...]] = ("missing", "ids", "frames")


class AuditTarget(Settings):
    """What two identical images must agree in: a label, or the class of the target that it stands for."""

    column: str
    classes: list[list[Scalar]] = []  # the labels of each class; none: any two that differ contradict each other
    unknown: list[Scalar] = []


class AuditSettings(Settings):
    """Of `audit`: the task's datasets and what they allow."""

    task: str
    datasets: list[str]
    external: list[str] = []
    folded: list[str] = []  # datasets whose own splits are not used: each person is tested in one of the task's folds
    allow_leakage: dict[str, str] = {}
    pretraining: dict[str, list[str]] = {}  # encoder -> datasets its weights were trained on
    bad_images: dict[str, str] = {}
    targets: list[AuditTarget] = []
    public: dict[str, str] = {}  # dataset -> the public set that its images are of
    encoders: dict[str, str | None] = {}  # encoder not trained on the config's datasets -> its public name, if said
    trained_here: dict[str, list[str]] = {}  # encoder -> public sets of the config's datasets that it was trained on
    exact: list[str] = []  # datasets whose ids are different people even where only their spelling differs
