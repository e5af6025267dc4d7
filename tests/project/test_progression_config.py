"""Progression in the config: what fits together, and what each stage is told."""

import pytest
from world.configs import changed

from visionfm.errors import ConfigError
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

COLUMNS = {"image": "file", "subject": "who", "eye": "eye", "visit": "date", "interval": "days", "event": "worse"}
TIMES = {"intervals": [365, 730], "horizons": [730], "visits": 3}
RAW = {
    "encoders": {"fundus": {"modality": "Fundus", "weights": "w.pth"}},
    "models": {"m": {"Fundus": "fundus"}},
    "datasets": {
        "asked": {"modality": "Fundus", "root": "a", "layout": "forecasting", "split": {"stratify": "event"}},
        "seen": {"modality": "Fundus", "root": "b", "layout": "table", "table": "t.csv", "columns": COLUMNS},
    },
    "tasks": {
        "by": {
            "kind": "progression", "head": "published", "datasets": ["asked"], "models": ["m"], "targets": {"w": {}},
        },
        "when": {
            "kind": "progression", "head": "hazard", "datasets": ["seen"], "models": ["m"], "targets": {"w": {}},
            "unit": "eye", "fusion": "attention", "survival": TIMES,
        },
    },
}  # fmt: skip


def test_each_stage_is_told_what_it_needs() -> None:
    plan = Plan(parse_config(RAW))
    fused = plan.tasks.fuse_settings("by")
    assert fused.progression == "published" and fused.targets["w"].column == "event"
    assert plan.tasks.targets("by")["w"].type == "binary"
    target = plan.tasks.targets("when")["w"]
    assert (target.type, target.form, target.intervals, target.horizons) == ("event", "hazard", [365, 730], [730])
    settings = plan.tasks.vector_train_settings("when", "seed0")
    assert (settings.head, settings.visits, settings.recipe_name) == ("hazard", 3, "sound")
    assert plan.tasks.vector_train_settings("by", "seed0").recipe_name == "sound"
    published = Plan(parse_config(changed(RAW, "tasks.by.training", {"recipe": "published"})))
    assert published.tasks.vector_train_settings("by", "seed0").recipe_name == "published"
    assert plan.tasks.evaluate_settings("when", "m").head == "hazard"
    assert plan.data.audit_settings("by").targets == []  # several intervals of an image are no contradiction
    assert plan.runs("by") == ["seed0"]  # baselines are of classification


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("tasks.by.head", None, "tasks.by.head: missing; expected 'published', 'hazard' or 'cox'"),
        ("tasks.by.head", "unetr", "or 'cox', found 'unetr'; only segmentation and landmarks have it"),
        ("tasks.by.targets", {"a": {}, "b": {}}, "progression has one target"),
        ("tasks.by.targets", {"a": {"type": "binary"}}, "type: unknown key; only classification and regression"),
        ("tasks.by.survival", TIMES, "head published looks at one image"),
        ("tasks.by.datasets", ["asked", "other"], "no dataset is named 'other'"),
        ("tasks.when.training", {"recipe": "published"}, "belongs to head published"),
        ("tasks.when.survival", None, "needs `survival: {intervals"),
        ("tasks.when.survival", {**TIMES, "horizons": [100]}, "these are none: 100"),
        ("tasks.when.survival", {**TIMES, "intervals": [730, 365]}, "`intervals` must rise"),
        ("tasks.when.survival", {**TIMES, "intervals": [0, 730]}, "greater than 0"),
        ("tasks.when.fusion", "mean", "'pooled' or 'attention', found 'mean'; only classification, regression"),
        ("tasks.when.unit", "visit", "expected 'image' or 'eye', found 'visit'; only classification, regression"),
        ("datasets.seen.columns.event", None, "needs both interval and event"),
        ("datasets.seen.columns.targets", {"event": "x"}, "choose another name"),
        ("datasets.asked.labels", ["event"], "leave `labels` away"),
        ("datasets.asked.labels", "none", "asked has no progression"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(path: str, value: object, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(changed(RAW, path, value))
    assert problem in str(error.value)


def test_survival_belongs_to_progression_and_its_heads_to_no_other_kind() -> None:
    classes = {
        "kind": "classification",
        "datasets": ["asked"],
        "models": ["m"],
        "targets": {"event": {"type": "binary"}},
    }
    assert (
        parse_config(changed(RAW, "tasks.c", classes)).tasks["c"].kind == "classification"
    )  # an event is a label, too
    with pytest.raises(ConfigError, match="only progression has `survival`"):
        parse_config(changed(RAW, "tasks.c", {**classes, "survival": TIMES}))
    with pytest.raises(ConfigError, match="found 'cox'; only progression has it"):
        parse_config(changed(RAW, "tasks.c", {**classes, "head": "cox"}))
