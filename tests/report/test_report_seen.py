"""The page says of each encoder what it has seen of the public sets that are tested, and what that rests on."""

from types import SimpleNamespace
from typing import Any

import pytest
from world.filled_tables import filled_table

from visionfm.errors import ConfigError
from visionfm.project.loading import parse_config
from visionfm.project.plan import Plan
from visionfm.report.sections import seen


def raw(**dataset: Any) -> dict[str, Any]:
    encoders = {
        "green": {"modality": "Fundus", "weights": "g.pth", "public": "retfound_green"},
        "unsaid": {"modality": "Fundus", "weights": "w.pth"},
        "drawn": {"modality": "Fundus", "weights": "random", "timm": "vit_tiny_patch16_224"},
        "own": {"modality": "Fundus", "pretrain": {"datasets": ["d"], "arch": "vit_tiny_patch16_224"}},
        "continued": {"modality": "Fundus", "pretrain": {"datasets": ["e"], "timm": "vit_tiny_patch16_224"}},
    }
    task = {
        "kind": "classification",
        "datasets": ["d"],
        "models": list(encoders),
        "targets": {"dr": {"type": "binary"}},
    }
    return {
        "encoders": encoders,
        "models": {name: {"Fundus": name} for name in encoders},
        "datasets": {
            "d": {"modality": "Fundus", "root": "d", "layout": "vfm", "labels": ["dr"], **dataset},
            "e": {"modality": "Fundus", "root": "e", "layout": "vfm", "labels": "none"},
        },
        "tasks": {"t": task},
    }


def shown(split: str = "test", **dataset: Any) -> list[Any]:
    config = parse_config(raw(**dataset))
    tables = [SimpleNamespace(name="d", labels={"split": ["train", split]})]
    results: Any = SimpleNamespace(config=config, plan=Plan(config), title=str, datasets=tables)
    return seen.sections(results)


def test_each_encoder_is_told_what_it_has_seen_of_a_public_test_set() -> None:
    (section,) = shown(public="ddr")
    filled_table(section.view.table)
    words = [[cell.text for cell in row] for row in section.view.table.rows]
    assert words == [
        ["green", "seen"],
        ["unsaid", "unknown"],
        ["drawn", seen.OWN],
        ["own", "seen"],
        ["continued", "unknown"],
    ]
    assert any("RETFound-Green was trained on OIA-DDR (https" in fact for fact in section.view.facts)


def test_without_a_public_set_that_is_tested_there_is_no_section() -> None:
    assert shown() == []
    assert shown(public="ddr", split="validation") == []


def test_the_audit_is_given_the_public_names() -> None:
    settings = Plan(parse_config(raw(public="idrid"))).data.audit_settings("t")
    assert settings.public == {"d": "idrid"}
    assert settings.encoders == {"green": "retfound_green", "unsaid": None, "continued": None}
    assert settings.trained_here == {"own": ["idrid"]}


def test_a_public_name_that_is_not_known_is_an_error_of_the_config() -> None:
    with pytest.raises(ConfigError, match="did you mean 'idrid'"):
        parse_config(raw(public="idrit"))
