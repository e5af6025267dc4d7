"""How images are read is said once; stages' settings are made of it, and travel as they always did."""

import json
from typing import Any

import pytest

from visionfm.config.settings import Settings
from visionfm.data.settings import IndexSettings
from visionfm.features.settings import DenseSettings, ExtractSettings, TokenReading
from visionfm.images.settings import DatasetReading, EncoderReading, Reading
from visionfm.pretraining.settings import ImageSetSettings, MeasureSettings, PackSettings
from visionfm.tasks.finetuning.settings import FinetuneSettings

FILE = {"frame": None, "max_megapixels": 200}
OF_DATASET = {**FILE, "bad_images": "fail"}
SQUARE = {"interpolation": "bilinear", "exact_decode": False}
MODEL = {"precision": "fp32", "dtype": "float16"}
MACHINE = {"device": "auto", "gpu": 0, "workers": None, "max_rows": 100_000}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            IndexSettings(modality="OCT", layout="table"),
            {**FILE, "modality": "OCT", "layout": "table", "images": None, "shard": 0, "shards": 1},
        ),
        (
            ExtractSettings(),
            {**OF_DATASET, **SQUARE, **MODEL, **MACHINE, "size": 224, "views": ["identity"], "modality": None}
            | {"batch_size": 32},
        ),
        (TokenReading(), {**FILE, **SQUARE, **MODEL}),
        (
            DenseSettings(),
            {**OF_DATASET, **SQUARE, **MODEL, **MACHINE, "size": 512, "views": ["identity"], "max_gb": 20}
            | {"never": False},
        ),
        (ImageSetSettings(modality="OCT"), {**OF_DATASET, "modality": "OCT", "pack_px": None}),
        (PackSettings(size=80), {**OF_DATASET, "size": 80}),
        (
            MeasureSettings(datasets={}),
            {**SQUARE, "datasets": {}, "every_split": [], "size": 224, "workers": 4},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Settings) else "",
)
def test_the_keys_of_a_stage_are_those_that_artefacts_know(settings: Settings, expected: dict[str, Any]) -> None:
    assert json.loads(settings.model_dump_json()) == expected


def test_fine_tuning_knows_how_each_dataset_is_read() -> None:
    assert FinetuneSettings.model_fields["datasets"].annotation == dict[str, Reading]
    assert Reading().model_dump(mode="json") == FILE


def test_a_part_is_taken_from_whatever_has_its_fields() -> None:
    whole = ExtractSettings(frame=3, max_megapixels=9, bad_images="skip", interpolation="bicubic")
    assert Reading.of(whole) == Reading(frame=3, max_megapixels=9)
    assert DatasetReading.of(whole).bad_images == "skip" and EncoderReading.of(whole).interpolation == "bicubic"
