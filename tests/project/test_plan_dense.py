"""Dense tasks in the plan: their own caches instead of vectors, masks beside predictions, settings for each stage."""

from typing import Any

import pytest

from visionfm.errors import ConfigError
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

RAW: dict[str, Any] = {
    "encoders": {"fundus": {"modality": "Fundus", "weights": "random", "arch": "vit", "device": "cpu"}},
    "models": {"m": {"Fundus": "fundus"}},
    "datasets": {
        "drive": {
            **{"modality": "Fundus", "root": "d", "layout": "table", "table": "t.csv", "images": "i/*", "shards": 2},
            "columns": {"image": "i", "mask": "m", "points": {"disc": ["dx", "dy"], "macula": ["mx", "my"]}},
        },
        "other": {"modality": "Fundus", "root": "o", "layout": "imagefolder"},
    },
    "tasks": {
        "vessels": {
            "kind": "segmentation",
            "datasets": ["drive"],
            "external": ["other"],
            "models": ["m"],
            "targets": {"vessel": {"classes": {"background": 0, "vessel": 255}}},
        },
        "points": {
            "kind": "landmarks",
            "datasets": ["drive"],
            "models": ["m"],
            "image_size": 256,
            "targets": {"disc": {}, "fovea": {"column": "macula"}},
            "dense_cache": {"max_gb": 1},
        },
    },
}


def changed(task: str, **keys: Any) -> dict[str, Any]:
    return {**RAW, "tasks": {**RAW["tasks"], task: {**RAW["tasks"][task], **keys}}}


def test_a_dense_task_reads_patch_tokens_and_no_vectors() -> None:
    plan = Plan(parse_config(RAW))
    assert plan.extractions() == [] and plan.encoders() == ["fundus"]
    assert plan.dense_extractions() == [("fundus", "drive", 256), ("fundus", "drive", 512), ("fundus", "other", 512)]
    features = [path for _, path in plan.task_features("vessels", "m")]
    assert features[:2] == [f"results/features/fundus/drive.dense512.{i}.h5" for i in (0, 1)]
    assert set(features) < set(plan.everything()) and "results/encoders/fundus/encoder.safetensors" in plan.everything()


def test_masks_and_probabilities_are_artefacts_of_segmentation_alone() -> None:
    plan = Plan(parse_config(RAW))
    run = "results/tasks/vessels/m/seed0"
    assert {f"{run}/masks.zip", f"{run}/probabilities.zip"} <= set(plan.everything())
    assert not plan.masks("points", "m", "seed0") and plan.tasks.predict_settings("vessels", "m", "seed0").probabilities
    without = Plan(parse_config(changed("vessels", probabilities=False)))
    assert not without.tasks.predict_settings("vessels", "m", "seed0").probabilities


def test_four_views_are_cached_where_flips_train_on_them() -> None:
    plan = Plan(parse_config(RAW))
    assert plan.encoding.dense_settings("fundus", "drive", 512).views == ["identity", "h", "v", "hv"]
    assert plan.encoding.dense_settings("fundus", "other", 512).views == ["identity"]
    points = plan.encoding.dense_settings("fundus", "drive", 256)
    assert points.max_gb == 1 and points.views == ["identity", "h"], "points change places from left to right alone"
    rich = Plan(parse_config(changed("vessels", training={"augmentation": "rich"})))
    assert rich.encoding.dense_settings("fundus", "drive", 512).views == ["identity"]


def test_a_datasets_masks_are_checked_against_every_tasks_classes() -> None:
    plan = Plan(parse_config(RAW))
    assert plan.data.label_settings("drive").mask_values == {"vessels": [0, 255]}
    assert plan.data.label_settings("other").mask_values == {}


def test_settings_carry_pixel_values_and_columns() -> None:
    plan = Plan(parse_config(RAW))
    mask = plan.tasks.train_settings("vessels", "m", "seed3").targets["vessel"]
    assert (mask.classes, mask.values) == (["background", "vessel"], [[0], [255]])
    assert plan.tasks.train_settings("vessels", "m", "seed3").seed == 3
    assert plan.tasks.predict_settings("points", "m", "seed0").targets["fovea"].column == "macula"


@pytest.mark.parametrize(
    ("task", "keys", "problem"),
    [
        ("vessels", {"targets": {"vessel": {}}}, "vessel.classes: missing"),
        ("vessels", {"targets": {"vessel": {"classes": {"no": 0, "yes": 300}}}}, "pixel values 0 to 255"),
        ("vessels", {"targets": {"vessel": {"type": "binary"}}}, "only classification and regression have `type`"),
        ("vessels", {"unit": "eye", "fusion": "mean"}, "unit: expected 'image', found 'eye'"),
        ("vessels", {"swaps": [["a", "b"]]}, "only landmarks has `swaps`"),
        (
            "vessels",
            {"training": {"features": "cls"}},
            "regression, ordinal and progression have `features`",
        ),
        ("points", {"swaps": [["disc", "cup"]]}, "swaps are pairs"),
        ("points", {"tile_overlap": 0.5}, "only segmentation has `tile_overlap`"),
        (
            "points",
            {"targets": {"disc": {"classes": 2}}},
            "only classification, ordinal and segmentation have `classes`",
        ),
        ("points", {"training": {"threshold": 0.4}}, "only segmentation has `threshold`"),
        ("points", {"kind": "regression"}, "only segmentation and landmarks have `image_size`"),
    ],
)
def test_what_does_not_fit_a_dense_task_is_an_error(task: str, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_config(changed(task, **keys))
