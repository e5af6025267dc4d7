"""`sizes` of an encoder: an encoder and a model for each size, and nothing else is new."""

import pytest
from world.configs import changed

from visionfm.errors import ConfigError
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

TABLE = {"root": "a", "layout": "table", "table": "t.csv", "columns": {"image": "file", "targets": {"dr": "grade"}}}
RAW = {
    "encoders": {
        "vit": {"modality": "any", "weights": "w.pth", "sizes": [224, 392]},
        "other": {"modality": "Fundus", "weights": "v.pth"},
    },
    "models": {"m": {"any": "vit"}, "n": {"Fundus": "other"}},
    "datasets": {"d": {"modality": "Fundus", **TABLE}},
    "tasks": {
        "t": {"kind": "classification", "datasets": ["d"], "models": ["n", "m"], "targets": {"dr": {"type": "binary"}}},
    },
}  # fmt: skip


def test_each_size_is_an_encoder_and_a_model_of_its_own() -> None:
    config = parse_config(RAW)
    assert {name: one.image_size for name, one in config.encoders.items()} == {
        "vit_224": 224,
        "vit_392": 392,
        "other": 224,
    }
    assert config.models == {"m_224": {"any": "vit_224"}, "m_392": {"any": "vit_392"}, "n": {"Fundus": "other"}}
    assert config.tasks["t"].models == ["n", "m_224", "m_392"]
    assert Plan(config).task_features("t", "m_392") == [("d", "results/features/vit_392/d.cls392.h5")]
    assert parse_config(config.dump()) == config, "a config that was written out stays as it is"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("encoders.vit.image_size", 224, "without `image_size`"),
        ("encoders.vit.sizes", [224, 224], "several different ones"),
        ("encoders.other.sizes", [224], "different `sizes`"),
    ],
)
def test_what_sizes_do_not_go_with(path, value, problem) -> None:
    raw = changed(RAW, path, value)
    if "different `sizes`" in problem:
        raw = changed(raw, "models.m", {"any": "vit", "Fundus": "other"})
    with pytest.raises(ConfigError, match=problem):
        parse_config(raw)


def test_a_wrong_block_is_still_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match="models"):
        parse_config(changed(RAW, "models", 3))
