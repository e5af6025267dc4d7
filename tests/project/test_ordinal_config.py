"""Ordinal grading in the config: what fits together, and what each stage is told."""

import pytest
from world.configs import changed

from visionfm.errors import ConfigError
from visionfm.metrics.catalogue import headline
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan

RAW = {
    "encoders": {"fundus": {"modality": "Fundus", "weights": "w.pth"}},
    "models": {"m": {"Fundus": "fundus"}},
    "datasets": {
        "d": {"modality": "Fundus", "root": "a", "layout": "table", "table": "t.csv",
              "columns": {"image": "file", "targets": {"dr_grade": "grade"}}},
    },
    "tasks": {
        "t": {"kind": "ordinal", "datasets": ["d"], "models": ["m"], "head": "corn", "shots": [5],
              "targets": {"dr": {"column": "dr_grade", "classes": 5}}},
    },
}  # fmt: skip


def test_each_stage_is_told_what_it_needs() -> None:
    plan = Plan(parse_config(changed(RAW, "tasks.t.training", {"class_weighting": "balanced"})))
    assert plan.tasks.fuse_settings("t").targets["dr"].type == "multiclass"
    target = plan.tasks.targets("t")["dr"]
    assert (target.form, target.unit, target.ordered, target.classes) == ("grades", "grades", True, list("01234"))
    settings = plan.tasks.vector_train_settings("t", "seed0")
    assert (settings.recipe.head, settings.recipe.class_weighting) == ("corn", "balanced")
    assert plan.tasks.evaluate_settings("t", "m").head == "corn" and headline("ordinal") == "quadratic_kappa"
    assert plan.runs("t") == ["seed0", "knn", "logreg", "seed0-shots5"]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("tasks.t.survival", {}, "only progression has `survival`"),
        ("tasks.t.head", "hazard", "expected 'corn' or 'cumulative', found 'hazard'"),
        ("tasks.t.targets.dr.ordered", True, "only classification has"),
        ("tasks.t.targets.dr.classes", ["none", "any"], "there are three grades at least"),
        ("tasks.t.targets.dr.classes", {"a": 0, "b": [1, 2], "c": 2}, "these stand twice: 2"),
        ("tasks.t.targets.dr.column", "grade", "grade"),
        ("tasks.t.training", {"recipe": "published"}, "expected 'sound', found 'published'"),
        ("tasks.t.training", {"mode": "finetune"}, "expected 'frozen', found 'finetune'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(path: str, value: object, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(changed(RAW, path, value))
    assert problem in str(error.value)


def test_the_heads_of_grades_belong_to_no_other_kind() -> None:
    classes = {"kind": "classification", "targets": {"dr": {"type": "multiclass", "column": "dr_grade", "classes": 5}}}
    with pytest.raises(ConfigError, match="found 'corn'; only ordinal has it"):
        parse_config(changed(RAW, "tasks.c", {**RAW["tasks"]["t"], **classes}))
