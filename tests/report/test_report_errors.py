"""The report's errors to look at: pictures of test samples beside their nearest training samples, and the map."""

import json
import re
from collections.abc import Callable

import pyarrow as pa
import pytest
from world.fabricated import GRADES, Fabricated

from visionfm import artifacts
from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.report import data
from visionfm.report.sections import errors, labels


@pytest.fixture
def views(fabricated: Callable[..., Fabricated]) -> list[errors.ErrorsView]:
    (section,) = errors.sections(data.load(fabricated(samples=40).plan))
    return list(section.view)


def test_each_task_shows_errors_of_its_first_model_with_neighbours_and_typical_answers(
    views: list[errors.ErrorsView],
) -> None:
    assert [(view.task, view.model) for view in views] == [
        ("diseases", "visionfm"), ("grading", "visionfm"), ("measures", "visionfm")
    ]  # fmt: skip
    (grade,) = views[1].targets
    assert re.fullmatch(r"\d+ of \d+ test answers are wrong", grade.says) and grade.typical
    for case in grade.errors:
        assert case.pictures[0].uri.startswith("data:image/jpeg") and case.pictures[0].says == "test, fundus"
        assert [one.says.split(",")[0] for one in case.neighbours] == ["training"] * 3
        assert "distance 0.50" in case.neighbours[0].says
    assert [target.heading for target in views[2].targets] == ["Largest errors"] * 2


def test_maps_are_coloured_by_split_dataset_label_and_error_and_say_so_in_words(views: list[errors.ErrorsView]) -> None:
    titles = [figure.title for figure in views[0].figures]
    assert titles == [f"Features by {what}" for what in ("split", "dataset", "label of disease", "error of disease")]
    assert "coloured by error of disease: not tested, or not known (n = " in views[0].figures[3].svg
    assert len(views[2].figures) == 1 + 2 * 2 and "50% of the variance" in views[2].sentences[1]


def test_labels_that_look_wrong_stand_beside_what_contradicts_them(fabricated: Callable[..., Fabricated]) -> None:
    run = fabricated(samples=40)
    audit = artifacts.read_table(run.plan.audit("grading")).to_pylist()
    by_path = {row["images"][0]["path"]: row for row in run.samples_of["grading"]}
    one, *others = by_path.values()
    other = next(row for row in others if row["grade"] != one["grade"])
    for row in audit:
        if row["check"] == "contradiction":
            row |= {"path": one["images"][0]["path"], "other_path": other["images"][0]["path"]}
    by = artifacts.provenance("audit", {"task": "grading", "pair": 1}, {})
    artifacts.write_table(run.plan.audit("grading"), pa.Table.from_pylist(audit), by, schema="visionfm/audit/1")
    run.suspect("grading")
    (section,) = labels.sections(data.load(run.plan))
    assert [view.task for view in section.view] == ["diseases", "grading", "measures"] and section.by_task
    (grade,) = section.view[1].targets
    first, second = grade.identical
    assert {first.says.split(" (")[0], second.says.split(" (")[0]} == {
        f"labelled {GRADES[int(row['grade'])]}" for row in (one, other)
    }
    assert [case.others[0].says for case in (second, first)] == [case.says.split(" (")[0] for case in (first, second)]
    assert grade.says.startswith("2 labels of identical images or copies differ; ")
    for case in grade.contradicted:
        assert " for its neighbours (" in case.says and len(case.others) <= 3
        assert all(one.uri.startswith("data:image/jpeg") for one in [*case.pictures, *case.others])
    assert "training labels; 50 are needed" in section.view[1].reasons[0] and section.view[1].table is None


def test_without_pictures_nothing_is_located_and_there_is_no_section(fabricated: Callable[..., Fabricated]) -> None:
    run = fabricated(samples=20)
    config = Config.model_validate_json(json.dumps({**run.config, "report": {"pictures": "none"}}))
    plan = Plan(config)
    assert [plan.locations(task) for task in config.tasks] == [{}, {}, {}]
    found = data.load(plan)
    assert errors.sections(found) == labels.sections(found) == []
