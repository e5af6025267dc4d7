"""The report says how far the graders of the labels agree, with n and the interval or the reason why there is none."""

from world.filled_tables import filled_table

from visionfm.report.data import DatasetTables
from visionfm.report.sections.datasets import _agreement

SAID = {"target": "dr", "graders": "one, two", "images": 1200, "subjects": 600, "equal": 0.8, "quadratic": True}


def test_kappa_stands_with_its_images_people_and_interval() -> None:
    found = {**SAID, "kappa": 0.71, "low": 0.65, "high": 0.76, "reason": None}
    (table,) = _agreement(DatasetTables("d", "Fundus", "data/d", None, None, [found]))
    filled_table(table)
    cells = [(cell.text, cell.small) for cell in table.rows[0]]
    assert cells == [("dr", ""), ("one, two", ""), ("1,200", "600 subjects"), ("80%", ""), ("0.710", "0.650 to 0.760")]


def test_where_there_is_no_interval_its_reason_stands() -> None:
    found = {**SAID, "kappa": None, "low": None, "high": None, "reason": "no interval: the metric does not exist"}
    (table,) = _agreement(DatasetTables("d", "Fundus", "data/d", None, None, [found]))
    assert table.rows[0][-1].small == "no interval: the metric does not exist"


def test_labels_of_one_grader_have_no_such_table() -> None:
    assert _agreement(DatasetTables("d", "Fundus", "data/d", None, None)) == []
