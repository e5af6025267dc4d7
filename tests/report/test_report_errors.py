"""The report's errors to look at: pictures of test samples beside their nearest training samples, and the map."""

import json
import re
from collections.abc import Callable

import pytest
from world.fabricated import Fabricated

from visionfm.project.config import Config
from visionfm.project.plan import Plan
from visionfm.report import data
from visionfm.report.sections import errors


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


def test_without_pictures_nothing_is_located_and_there_is_no_section(fabricated: Callable[..., Fabricated]) -> None:
    run = fabricated(samples=20)
    config = Config.model_validate_json(json.dumps({**run.config, "report": {"pictures": "none"}}))
    plan = Plan(config)
    assert [plan.locations(task) for task in config.tasks] == [{}, {}, {}]
    assert errors.sections(data.load(plan)) == []
