"""What each stage depends on: its slice of the config, nothing else.

A stage's settings travel as JSON on its command line, stand in its rule's `params`, and are part of its key; so a
change of the config reruns just the stages whose settings it changes. Folders are no settings: a moved dataset is the
same dataset.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from visionfm.config.schema import Columns, Scalar, Split, Statistics
from visionfm.config.schema_datasets import Layout
from visionfm.errors import UsageError


class Settings(BaseModel):
    """Base of all stages' settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Return the settings that a command line carries; UsageError where they do not fit the stage."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise UsageError(
                "--settings does not fit this stage",
                expected=", ".join(cls.model_fields),
                found="; ".join(f"{'.'.join(map(str, e['loc'])) or 'text'}: {e['msg']}" for e in error.errors()),
                do="give JSON, or @ and a file that holds it; the rules in workflow/ show how",
            ) from error


class IndexSettings(Settings):
    """Of `index`."""

    modality: str
    layout: Layout
    images: str | None = None
    frame: int | None = None
    max_megapixels: float = 200
    shard: int = 0
    shards: int = 1


class LabelSettings(Settings):
    """Of `label`."""

    dataset: str
    layout: Layout
    images: str | None = None
    table: str | None = None
    labels: list[str] | Literal["none"] | None = None
    columns: Columns = Columns()
    path_pattern: str | None = None
    cohort: str | None = None
    split: Split = Split()
    mask_values: dict[str, list[int]] = {}  # task -> the pixel values that are its classes


class AuditSettings(Settings):
    """Of `audit`: the task's datasets and what they allow."""

    task: str
    datasets: list[str]
    external: list[str] = []
    allow_leakage: dict[str, str] = {}
    pretraining: dict[str, list[str]] = {}  # encoder -> datasets its weights were trained on
    bad_images: dict[str, str] = {}
    targets: list[str] = []  # label columns that the task uses


class ImportSettings(Settings):
    """Of `import`."""

    modality: str
    weights: str | None = None
    timm: str | None = None
    key: str | None = None
    arch: str | None = None
    image_size: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    statistics: Literal["weights", "modality", "imagenet", "auto"] | Statistics = "weights"
    modality_statistics: Statistics | None = None  # of `modality`, where the config adds it
    seed: int = 0


class ExtractSettings(Settings):
    """Of `extract`."""

    size: int = 224
    views: list[str] = ["identity"]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    exact_decode: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    dtype: Literal["float16", "float32"] = "float16"
    modality: str | None = None  # of the images, for an encoder that normalises several, each by its own
    frame: int | None = None
    max_megapixels: float = 200
    bad_images: Literal["fail", "skip"] = "fail"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu: int = 0
    batch_size: int = 32
    workers: int = 2
    max_rows: int = 100_000


class TargetSettings(Settings):
    """A target with its classes spelled out: `values[i]` are the labels that mean class i."""

    type: Literal["binary", "multiclass", "multilabel", "value", "mask", "point"]
    column: str
    classes: list[str] = []
    values: list[list[Scalar]] = []
    ordered: bool = False
    weight: float = 1.0
    unit: str | None = None
    unknown: list[Scalar] = []
    aggregate: Literal["max", "mean", "latest", "first"] | None = None

    def columns(self) -> list[str]:
        """Return the columns of labels.parquet it is made from."""
        if self.type in ("mask", "point"):
            return ["mask_id" if self.type == "mask" else "points"]
        return self.classes if self.type == "multilabel" else [self.column]


class FuseSettings(Settings):
    """Of `fuse`."""

    datasets: dict[str, str]  # dataset -> modality
    external: list[str] = []
    modalities: list[str]
    targets: dict[str, TargetSettings]
    unit: Literal["image", "eye", "visit", "subject"] = "image"
    max_days: int | None = None
    fusion: Literal["pooled", "concat", "mean", "attention"] = "pooled"
    progression: Literal["published", "hazard", "cox"] | None = None  # the head of a task of that kind
    trains: bool = True  # False: a given decoder is scored, so that no training sample is needed


class Target(Settings):
    """A target as decoders and metrics see it; an `event` has the ends of its intervals and its horizons, in days."""

    type: Literal["binary", "multiclass", "multilabel", "value", "mask", "point", "event"]
    classes: list[str] = []
    ordered: bool = False
    weight: float = 1.0
    unit: str | None = None
    form: Literal["hazard", "cox"] | None = None
    intervals: list[float] = []
    horizons: list[float] = []


class TrainSettings(Settings):
    """Of `train`; None is the recipe's own value, and of the two that choose a part of the training data: all."""

    kind: Literal["classification", "regression", "progression"]
    targets: dict[str, Target]
    modalities: list[str]
    fusion: Literal["pooled", "concat", "mean", "attention"] = "pooled"
    baseline: Literal["knn", "logreg"] | None = None  # None: the recipe's head
    train_fraction: float | None = None
    shots: int | None = None
    head: Literal["published", "hazard", "cox"] | None = None
    visits: int = 1
    seed: int = 0
    recipe: Literal["sound", "modern", "published"] = "sound"
    features: Literal["cls", "patch_mean", "both"] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    patience: int | None = None
    modality_dropout: float | None = None
    class_weighting: Literal["none", "balanced"] | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    checkpoint_minutes: float = 10


class PredictSettings(Settings):
    """Of `predict`; `targets` name the outputs of a published decoder file, which carries none."""

    task: str
    model: str
    run: str
    kind: Literal["classification", "regression", "progression"]
    targets: dict[str, Target]
    modalities: list[str]
    fusion: Literal["pooled", "concat", "mean", "attention"] = "pooled"
    tta: Literal["none", "flips"] = "none"
    splits: list[str] = ["validation", "test"]
    device: Literal["cpu", "cuda"] = "cpu"


class EvaluateSettings(Settings):
    """Of `evaluate`."""

    task: str
    model: str
    head: str
    fusion: str
    kind: Literal["classification", "regression", "segmentation", "landmarks", "progression"]
    targets: dict[str, Target]
    success_px: list[float] = []
    success_mm: list[float] = []
    draws: int = 1000
    seed: int = 0


class ReportSettings(Settings):
    """Of `report`: the whole config, as plain JSON values."""

    config: dict[str, object]
