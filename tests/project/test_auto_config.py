"""`head: auto` and `features: auto` in the config: what is cached, and what each run is told to try."""

import pytest
from world.configs import changed

from visionfm.errors import ConfigError
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

RAW = {
    "encoders": {"fundus": {"modality": "Fundus", "weights": "w.pth"}},
    "models": {"m": {"Fundus": "fundus"}},
    "datasets": {
        "d": {"modality": "Fundus", "root": "a", "layout": "table", "table": "t.csv",
              "columns": {"image": "file", "targets": {"dr": "grade"}}},
    },
    "tasks": {
        "t": {"kind": "classification", "datasets": ["d"], "models": ["m"], "targets": {"dr": {"type": "binary"}}},
    },
}  # fmt: skip
CACHES = [("d", "results/features/fundus/d.cls224.h5"), ("d", "results/features/fundus/d.dense224.h5")]


def planned(**keys) -> Plan:
    raw = RAW
    for path, value in keys.items():
        raw = changed(raw, f"tasks.t.{path}", value)
    return Plan(parse_config(raw))


def test_auto_reads_both_caches_and_tries_all_heads_and_features() -> None:
    plan = planned(head="auto", training={"features": "auto", "class_weighting": "balanced"})
    assert plan.task_features("t", "m", "seed0") == CACHES and plan.task_features("t", "m", "knn") == CACHES[:1]
    assert plan.extractions() == [("fundus", "d")] and plan.dense_extractions() == [("fundus", "d", 224)]
    tried = plan.tasks.vector_train_settings("t", "seed0").candidates
    readouts = ("both", "cls", "last_cls", "patch_mean")
    assert list(tried) == [*(f"linear-{of}" for of in readouts), "attentive", *(f"logreg-{of}" for of in readouts)]
    assert {one.recipe.class_weighting for one in tried.values()} == {"balanced"}
    baseline = plan.tasks.vector_train_settings("t", "knn")
    assert (baseline.candidates, baseline.recipe.features) == ({}, "both")


def test_where_the_config_says_which_nothing_is_tried() -> None:
    settings = planned().tasks.vector_train_settings("t", "seed0")
    assert settings.candidates == {} and "candidates" not in settings.what_matters()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"head": "auto", "tta": "flips"}, "`head: auto` has unit image"),
        ({"head": "auto", "training": {"recipe": "published"}}, "recipe sound"),
        ({"training": {"mode": "finetune", "features": "auto"}}, "not auto"),
    ],
)
def test_what_auto_is_not_for(keys, problem) -> None:
    with pytest.raises(ConfigError, match=problem):
        planned(**keys)
