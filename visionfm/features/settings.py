"""The settings of `extract` and `dense`: which images become which features."""

from typing import ClassVar, Literal

from pydantic import Field

from visionfm.images.settings import DatasetReading, EncoderReading

Precision = Literal["fp32", "bf16"]


class ExtractSettings(EncoderReading, DatasetReading):
    """Of `extract`."""

    size: int = 224
    views: list[str] = ["identity"]
    precision: Precision = "fp32"
    dtype: Literal["float16", "float32"] = "float16"
    modality: str | None = None  # of the images, for an encoder that normalises several, each by its own
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu: int = 0
    batch_size: int = 32
    workers: int | None = None  # as its device needs
    max_rows: int = 100_000


class TokenReading(EncoderReading):
    """How the images of one dataset become an encoder's patch tokens."""

    precision: Precision = "fp32"
    dtype: Literal["float16", "float32"] = "float16"
    modality: str | None = None  # of the images, for an encoder that normalises several, each by its own

    left_out: ClassVar[tuple[str, ...]] = ("bits", "modality")


class DenseSettings(TokenReading, DatasetReading):
    """Of `dense`."""

    size: int = 512
    views: list[str] = Field(["identity"])
    max_gb: float = 20
    never: bool = False  # every task that reads it computes tokens in its loop: nothing is worth caching
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu: int = 0
    workers: int | None = None  # as its device needs
    max_rows: int = 100_000
